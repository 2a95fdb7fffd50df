//! Files of an environment.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> yunbase_client::Result<()> {
//! # let server = yunbase_client::testing::DevServer::start(1)?;
//! # let client = server.client().await?;
//! use futures::TryStreamExt;
//! use yunbase_client::storage::NewFile;
//!
//! let storage = client.storage();
//! let text = NewFile::at("notes/hello.txt").content_type("text/plain");
//! storage.put_bytes(text, "hello").await?;
//! let content: Vec<_> = storage.get("notes/hello.txt", ..).await?.try_collect().await?;
//! assert_eq!(content.concat(), b"hello");
//! # Ok(()) }
//! ```
//!
//! # What it promises
//! * **Sent once.** A file is cut where its content says so, the cluster is asked which chunks it has, and only the others
//!   are sent: what is uploaded again, after an edit or a lost connection, costs a question for each chunk.
//! * **Whole.** A file is there when its commit was acknowledged, and never in part. A download ends with an error
//!   when it is not the one version that it began with.
//! * **On time.** Each request has the client's deadline, those that move much content two minutes at least. A download goes on
//!   for as long as content comes.
//! * **Bounded.** Neither an upload nor a download holds more than a few chunks, whatever the size of the file.
//! * **Honest.** What does no harm when done twice is repeated until the deadline. A commit, a copy or a delete whose answer
//!   was lost is an error of which [`is_unknown`](crate::Error::is_unknown) is true, and for the caller to look after.
//!
//! # Map
//! | file | owns |
//! |---|---|
//! | `call` | one request: its attempts until an answer or the deadline |
//! | `decision` | what follows from a failed attempt, as a pure function |
//! | `file` | what a file is, and what one is to be |
//! | `split` | where content is cut, and how the pieces are named |
//! | `upload` | asking, sending, committing |
//! | `download` | content as a stream that goes on where it broke off |
//! | `inspect` | where content is, and whether it is intact |

mod call;
mod decision;
mod download;
mod file;
mod inspect;
mod split;
mod upload;

use std::collections::VecDeque;
use std::time::Duration;

use futures::Stream;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::proto;
use call::Call;

pub use download::Download;
pub use file::{
    Condition, DeletedFile, DeletedPage, FileLink, FilePage, FileQuery, NewFile, Stored, StoredFile,
};
pub use inspect::{FileDetail, VerifyReport};
pub use split::Fingerprint;

pub(crate) use split::Parameters;

/// The files of one environment. Clones cost a reference count.
#[derive(Debug, Clone)]
pub struct Storage {
    client: Client,
}

impl Storage {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The environment.
    pub fn env(&self) -> &str {
        self.client.env()
    }

    fn env_name(&self) -> String {
        self.client.env().to_owned()
    }

    /// How the cluster cuts files; asked once a client.
    async fn parameters(&self) -> Result<Parameters> {
        let asked = self
            .client
            .core()
            .file_parameters
            .get_or_try_init(|| async {
                let message = proto::StorageParametersRequest {
                    env: self.env_name(),
                };
                let call = self.repeatable("Parameters");
                let told = self
                    .call(call, message, |mut client, request| async move {
                        client.parameters(request).await
                    })
                    .await?;
                Parameters::of(&told)
            });
        asked.await.cloned()
    }

    /// What is known of a file; `None` when there is none.
    pub async fn stat(&self, path: &str) -> Result<Option<StoredFile>> {
        let message = proto::StatFileRequest {
            env: self.env_name(),
            path: path.to_owned(),
        };
        let told = self
            .call(
                self.repeatable("Stat"),
                message,
                |mut client, request| async move { client.stat(request).await },
            )
            .await?;
        Ok(told.file.map(StoredFile::from))
    }

    /// One page of a listing.
    pub async fn list(&self, query: &FileQuery) -> Result<FilePage> {
        let message = proto::ListFilesRequest {
            env: self.env_name(),
            prefix: query.prefix.clone(),
            delimiter: query.delimiter.clone().unwrap_or_default(),
            after: query.after.clone(),
            limit: query.limit,
        };
        let told = self
            .call(
                self.repeatable("List"),
                message,
                |mut client, request| async move { client.list(request).await },
            )
            .await?;
        Ok(told.into())
    }

    /// All files whose paths begin with `prefix`, in the order of their bytes, page by page.
    pub fn files(&self, prefix: &str) -> impl Stream<Item = Result<StoredFile>> + Send + use<> {
        struct Walk {
            storage: Storage,
            query: FileQuery,
            page: VecDeque<StoredFile>,
            ended: bool,
        }
        let walk = Walk {
            storage: self.clone(),
            query: FileQuery::below(prefix),
            page: VecDeque::new(),
            ended: false,
        };
        futures::stream::try_unfold(walk, |mut walk| async move {
            loop {
                if let Some(file) = walk.page.pop_front() {
                    return Ok(Some((file, walk)));
                }
                if walk.ended {
                    return Ok(None);
                }
                let page = walk.storage.list(&walk.query).await?;
                match page.next {
                    // A page that does not go on would be asked for for ever.
                    Some(next) if next <= walk.query.after => {
                        return Err(Error::malformed("the node's listing does not go on"));
                    }
                    Some(next) => walk.query.after = next,
                    None => walk.ended = true,
                }
                walk.page = page.files.into();
            }
        })
    }

    /// Deletes a file; `false` when there was none.
    pub async fn delete(&self, path: &str, condition: Condition) -> Result<bool> {
        let message = proto::DeleteFileRequest {
            env: self.env_name(),
            path: path.to_owned(),
            condition: condition.into(),
        };
        let told = self
            .call(
                self.once("Delete"),
                message,
                |mut client, request| async move { client.delete(request).await },
            )
            .await?;
        Ok(told.deleted)
    }

    /// A page of deleted files that can be restored still, behind the `next` of an earlier page; empty = the first.
    pub async fn deleted(&self, prefix: &str, after: &str) -> Result<DeletedPage> {
        let message = proto::ListDeletedRequest {
            env: self.env_name(),
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit: 0,
        };
        let call = self.repeatable("ListDeleted");
        let told = self
            .call(call, message, |mut client, request| async move {
                client.list_deleted(request).await
            })
            .await?;
        told.try_into()
    }

    /// Brings a deleted file back, by its version. Refused when there is a file of its path by now.
    pub async fn restore(&self, version: &str) -> Result<StoredFile> {
        let message = proto::RestoreFileRequest {
            env: self.env_name(),
            version: version.to_owned(),
        };
        let told = self
            .call(
                self.once("Restore"),
                message,
                |mut client, request| async move { client.restore(request).await },
            )
            .await?;
        file::required(told.file)
    }

    /// Gives the content of `from` the name of `to` as well, with the properties of `from`. No content moves. With
    /// `from_version`, only that version is copied.
    pub async fn copy(
        &self,
        from: &str,
        from_version: Option<&str>,
        to: impl Into<NewFile>,
    ) -> Result<StoredFile> {
        let message = proto::CopyFileRequest {
            env: self.env_name(),
            from: from.to_owned(),
            from_version: from_version.unwrap_or_default().to_owned(),
            to: Some(to.into().into()),
            keep_properties: true,
        };
        let told = self
            .call(
                self.once("Copy"),
                message,
                |mut client, request| async move { client.copy(request).await },
            )
            .await?;
        file::required(told.file)
    }

    /// An address that opens a file to anybody who has it, for `life`; `None` = as long as the cluster gives by default.
    pub async fn link(&self, path: &str, life: Option<Duration>) -> Result<FileLink> {
        let message = proto::LinkFileRequest {
            env: self.env_name(),
            path: path.to_owned(),
            life_s: life.map_or(0, |life| life.as_secs().max(1)),
        };
        let told = self
            .call(
                self.repeatable("Link"),
                message,
                |mut client, request| async move { client.link(request).await },
            )
            .await?;
        // Any node checks what any node gave out, so any of our addresses will do.
        let endpoints = &self.client.core().endpoints;
        let origin = &endpoints.get(endpoints.pick()).uri;
        Ok(FileLink {
            url: format!("{origin}{}", told.path_and_query),
            until_s: told.until_s,
        })
    }

    fn repeatable(&self, method: &'static str) -> Call {
        Call::repeatable(method, self.client.deadline())
    }

    fn once(&self, method: &'static str) -> Call {
        Call::once(method, self.client.deadline())
    }
}
