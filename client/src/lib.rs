//! The public protocol of yunbase and its Rust SDK.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> yunbase_client::Result<()> {
//! # let server = yunbase_client::testing::DevServer::start(1)?;
//! # let dev = yunbase_client::DevJson::read(server.folder())?;
//! # let (node_1, node_2, id, key) = (&dev.http[0], &dev.http[0], &dev.secret_id, &dev.secret_key);
//! use serde::{Deserialize, Serialize};
//! use yunbase_client::{Client, filter::eq, update};
//!
//! #[derive(Serialize, Deserialize)]
//! struct City {
//!     name: String,
//!     country: String,
//! }
//!
//! let client = Client::builder()
//!     .endpoint(node_1) // such as http://10.0.0.1:7600
//!     .endpoint(node_2)
//!     .credentials(id, key)
//!     .env("demo")
//!     .connect()
//!     .await?;
//! client.create_collection("cities").await?;
//! let cities = client.collection::<City>("cities");
//! cities.insert_one(&City { name: "Bern".into(), country: "CH".into() }).await?;
//! cities.update_one(eq("name", "Bern"), update::set("name", "Berne")).await?;
//! let swiss = cities.find(eq("country", "CH")).sort_by("name").limit(10).all().await?;
//! assert_eq!(swiss[0].name, "Berne");
//! # Ok(()) }
//! ```
//!
//! # What it promises
//! * **Once.** A request that changes something is sent again under the same session and sequence until its outcome is
//!   known, so it takes effect once, also when answers get lost and nodes die.
//! * **Honest.** When the outcome stays unknown by the deadline, [`Error::is_unknown`] says so. Any other error
//!   means that nothing happened.
//! * **On time.** No call outlives its deadline, and nothing is retried without a bound.
//! * **Bounded.** Requests in flight, frames, answers and pauses have limits (`limits.rs`).
//! * **No panic** from anything that a node sends.
//!
//! # Map
//! | file | owns |
//! |---|---|
//! | `builder`, `dev_json`, `auth` | how a client comes to be and proves who it is |
//! | `client` | one request: its attempts until an answer or the deadline |
//! | `retry` | the decision after an attempt, as a pure function |
//! | `session` | exactly-once: sequences and their window |
//! | `leader` | where writes are decided, as nodes name it |
//! | `endpoint` | the addresses, which is used now, reconnecting |
//! | `link`, `frames` | one live stream; everything that waits goes into one frame |
//! | `collection`, `find`, `aggregate`, `catalog`, `filter`, `update`, `wire` | the typed face |
//! | `storage` | files: cut here, asked about by hash, sent where they are missing |
//! | `status` | failures as gRPC statuses, for both sides |
//! | `testing` | a stand-in server and a starter of real ones, for tests |

#![forbid(unsafe_code)]

mod aggregate;
pub mod auth;
mod builder;
mod catalog;
mod client;
mod collection;
mod dev_json;
mod endpoint;
mod error;
pub mod filter;
mod find;
mod frames;
mod leader;
mod limits;
mod link;
mod retry;
mod session;
pub mod status;
pub mod storage;
#[doc(hidden)]
pub mod testing;
pub mod update;
mod wire;

pub use crate::aggregate::Aggregate;
pub use crate::builder::ClientBuilder;
pub use crate::catalog::Index;
pub use crate::client::Client;
pub use crate::collection::{Collection, Updated};
pub use crate::dev_json::{DevJson, DevNode};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::find::{Find, Page};
pub use crate::limits::Options;
pub use crate::proto::ReadLevel;
pub use crate::storage::Storage;
pub use bson;

/// The generated protocol types.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod proto {
    tonic::include_proto!("yunbase.v1");
}
