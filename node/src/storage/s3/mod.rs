//! The S3 port: rclone, s3cmd, backup tools and any S3 SDK against the files of environments.
//!
//! A bucket is an environment and has its name, a key is the path of a file, and the secret keys of the environment sign
//! the requests. `s3s` knows the protocol: routes, XML, signatures of version 4 in headers, addresses and chunks. What is
//! here says what it means. Buckets are addressed in the path (`http://host:7602/bucket/key`).
//!
//! # Map
//! | file | owns |
//! |---|---|
//! | `server`, `front` | the port; ids of requests, what is refused before `s3s` sees it |
//! | `arrival`, `chunks` | bodies on their way in: pauses, and chunks of S3's own |
//! | `auth` | keys, session tokens, which buckets they open |
//! | `service` | the operations of S3, by name |
//! | `door` | what they share |
//! | `buckets`, `absent` | environments as buckets; what they do not have |
//! | `objects`, `download` | reading objects |
//! | `uploads`, `upload_body`, `checksums` | storing objects, and what is compared before they are whole |
//! | `copies`, `deletes`, `listing` | the other operations on objects |
//! | `multipart`, `completion`, `pending` | uploads in parts |
//! | `conditions`, `headers`, `wishes`, `moment` | conditional requests; metadata; what is not granted; times |
//! | `error`, `limits` | codes of S3; every bound |
//!
//! # What it promises
//! * Whoever has no key of the environment in force gets nothing: there are no anonymous requests.
//! * An object is stored when all checksums that came with it are those of what arrived, or not at all.
//! * What is asked for and not done is refused by name: encryption, tags, locks, versions, public access.

mod absent;
mod arrival;
mod auth;
mod buckets;
mod checksums;
mod chunks;
mod completion;
mod conditions;
mod copies;
mod deletes;
mod door;
mod download;
mod error;
mod front;
mod headers;
mod limits;
mod listing;
mod moment;
mod multipart;
mod objects;
mod pending;
mod server;
mod service;
mod upload_body;
mod uploads;
mod wishes;

pub use door::S3Door;
pub use server::{router, serve};
