//! The gRPC service `Storage`: files for the Rust SDK and the command line, as administrators and operators.
//!
//! Nothing is decided here: the door says who may do what, `Files` does it, and what fails travels as a status with its
//! code and what may be done about it. End users have doors of their own.

mod limits;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tokio::task::JoinSet;
use tonic::{Code, Request, Response, Status, Streaming};
use yunbase_client::proto;
use yunbase_client::proto::storage_server::{Storage, StorageServer};
use yunbase_client::status::advised;

use super::address;
use super::blobs::SPLIT;
use super::blobs::audit::VerifyReport;
use super::limits::{INLINE_CHUNKS_MAX, LIST_CHUNKS_MAX, LIST_FILES_MAX};
use super::links::Links;
use super::record::{DeletedRecord, Piece};
use super::{FilePath, FileRecord, Files, ListQuery, NewFile, Scope, StorageError};
use crate::operators::door::Door;
use crate::operators::roles::{Action, Place};
use limits::{
    CATCH_UP_TIMEOUT, COMMIT_PAUSE_MAX, COMMIT_UNIT_PIECES, COMMIT_UNITS_MAX, MESSAGE_BYTES_MAX,
    REPORT_INTERVAL, SMALL_FILE_BYTES_MAX, VERIFICATIONS_MAX, WRITE_WAIT, WRITES_MAX,
};
use wire::status_of;

/// The service.
pub struct StorageService {
    files: Files,
    links: Links,
    door: Door,
    now_ms: fn() -> i64,
    downloads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    commits: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
}

impl StorageService {
    /// A service over `files` that lets in who `door` does.
    pub fn new(files: Files, links: Links, door: Door, now_ms: fn() -> i64) -> Self {
        let downloads_max = files.limits().downloads_max;
        Self {
            files,
            links,
            door,
            now_ms,
            downloads: Arc::new(Semaphore::new(downloads_max)),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            commits: Arc::new(Semaphore::new(COMMIT_UNITS_MAX)),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
        }
    }

    /// The service as tonic mounts it.
    pub fn into_server(self) -> StorageServer<Self> {
        StorageServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Lets in who may do `action` in `env`.
    async fn admit<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
        env: &str,
    ) -> Result<Scope, Status> {
        let keys = &**self.door.keys();
        if !keys.has_env(env) {
            keys.catch_up(Instant::now() + CATCH_UP_TIMEOUT).await;
        }
        let method = format!("/yunbase.v1.Storage/{method}");
        let place = Place::Environment(env);
        let authorized = self.door.authorize(request, &method, action, place).await;
        let (admitted, origin) = authorized.map_err(at_the_door)?;
        let request_id = origin.request_id;
        admitted
            .check_env(keys, env)
            .map_err(|failure| status_of(failure.into(), &request_id))?;
        Ok(Scope {
            env: env.to_owned(),
            request_id,
        })
    }

    /// The file at `path`, of this version where one is named.
    async fn find(
        &self,
        scope: &Scope,
        path: &str,
        version: &str,
    ) -> Result<FileRecord, StorageError> {
        let path = FilePath::parse(path)?;
        let found = self.files.stat(scope, &path).await?;
        let record = found.ok_or_else(|| StorageError::NotFound(path.to_string()))?;
        if !version.is_empty() && record.version != version {
            return Err(StorageError::ConditionFailed(path.to_string()));
        }
        Ok(record)
    }

    /// Waits for its turn to store content.
    async fn turn_to_write(&self) -> Result<OwnedSemaphorePermit, StorageError> {
        let turn = self.writes.clone().acquire_owned();
        match tokio::time::timeout(WRITE_WAIT, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(StorageError::TooMany(
                "this node stores as much at once as it may: try again shortly".to_owned(),
            )),
        }
    }

    /// The rest of a commit: its pieces, and the room that they take.
    async fn take_pieces(
        &self,
        first: &[u8],
        messages: &mut Streaming<proto::CommitFileRequest>,
    ) -> Result<(Vec<Piece>, Vec<OwnedSemaphorePermit>), StorageError> {
        let mut pieces = wire::pieces(first)?;
        let mut room = Vec::new();
        loop {
            while room.len() * COMMIT_UNIT_PIECES < pieces.len() {
                room.push(one_of(
                    &self.commits,
                    "this node commits files of as many chunks at once as it may: try again shortly",
                )?);
            }
            let message = tokio::time::timeout(COMMIT_PAUSE_MAX, messages.message()).await;
            let message = message
                .map_err(|_| StorageError::Aborted("the commit stopped coming".to_owned()))?
                .map_err(|status| StorageError::Aborted(status.message().to_owned()))?;
            match message {
                Some(message) => pieces.extend(wire::pieces(&message.pieces)?),
                None => return Ok((pieces, room)),
            }
        }
    }
}

/// One of a bounded number, or an error at once.
fn one_of(
    semaphore: &Arc<Semaphore>,
    too_many: &str,
) -> Result<OwnedSemaphorePermit, StorageError> {
    let taken: Result<_, TryAcquireError> = semaphore.clone().try_acquire_owned();
    taken.map_err(|_| StorageError::TooMany(too_many.to_owned()))
}

/// Whatever the door says, nothing has happened: where it could not tell, the caller may come again.
fn at_the_door(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => advised(status, "UNAVAILABLE", proto::Retry::Safe, ""),
        _ => status,
    }
}

fn reported(report: &VerifyReport, is_final: bool) -> proto::VerifyFilesReport {
    proto::VerifyFilesReport {
        is_final,
        files: report.files,
        bytes: report.bytes,
        chunks: report.chunks,
        missing_copies: report.missing_copies,
        damaged_copies: report.damaged_copies,
        lost_chunks: report.lost_chunks,
        lost_files: report.lost_files.clone(),
        unnamed_chunks: report.unnamed_chunks,
        repaired_copies: report.repaired_copies,
        unreachable: report.unreachable.iter().copied().collect(),
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Storage for StorageService {
    async fn parameters(
        &self,
        request: Request<proto::StorageParametersRequest>,
    ) -> Result<Response<proto::StorageParametersResponse>, Status> {
        let env = &request.get_ref().env;
        self.admit(&request, "Parameters", Action::DataRead, env)
            .await?;
        Ok(Response::new(proto::StorageParametersResponse {
            algorithm: "fastcdc-2020".to_owned(),
            chunk_bytes_min: SPLIT.chunk_bytes_min,
            chunk_bytes_average: SPLIT.chunk_bytes_average,
            chunk_bytes_max: SPLIT.chunk_bytes_max,
            normalization_level: 1,
            small_file_bytes_max: SMALL_FILE_BYTES_MAX as u32,
            inline_pieces_max: INLINE_CHUNKS_MAX as u32,
            list_pieces_max: LIST_CHUNKS_MAX as u32,
        }))
    }

    async fn stat(
        &self,
        request: Request<proto::StatFileRequest>,
    ) -> Result<Response<proto::StatFileResponse>, Status> {
        let asked = request.get_ref();
        let scope = self
            .admit(&request, "Stat", Action::DataRead, &asked.env)
            .await?;
        let refused = |error| status_of(error, &scope.request_id);
        let path = FilePath::parse(&asked.path).map_err(refused)?;
        let found = self.files.stat(&scope, &path).await.map_err(refused)?;
        let file = found.map(wire::shown);
        Ok(Response::new(proto::StatFileResponse { file }))
    }

    async fn list(
        &self,
        request: Request<proto::ListFilesRequest>,
    ) -> Result<Response<proto::ListFilesResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self.admit(&request, "List", Action::DataRead, env).await?;
        let asked = request.into_inner();
        let query = ListQuery {
            prefix: asked.prefix,
            delimiter: Some(asked.delimiter).filter(|delimiter| !delimiter.is_empty()),
            after: asked.after,
            limit: match asked.limit as usize {
                0 => LIST_FILES_MAX,
                limit => limit.min(LIST_FILES_MAX),
            },
        };
        let page = self.files.list(&scope, query).await;
        let page = page.map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(proto::ListFilesResponse {
            files: page.files.into_iter().map(wire::listed).collect(),
            prefixes: page.prefixes,
            next: page.next.unwrap_or_default(),
        }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteFileRequest>,
    ) -> Result<Response<proto::DeleteFileResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self
            .admit(&request, "Delete", Action::DataWrite, env)
            .await?;
        let asked = request.into_inner();
        let deleted = async {
            let path = FilePath::parse(&asked.path)?;
            let condition = wire::condition(asked.condition)?;
            self.files.delete(&scope, &path, condition).await
        };
        let deleted = deleted
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(proto::DeleteFileResponse { deleted }))
    }

    async fn list_deleted(
        &self,
        request: Request<proto::ListDeletedRequest>,
    ) -> Result<Response<proto::ListDeletedResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self
            .admit(&request, "ListDeleted", Action::DataRead, env)
            .await?;
        let asked = request.into_inner();
        let limit = match asked.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let page = self
            .files
            .deleted(&scope, &asked.prefix, &asked.after, limit)
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        let shown = |deleted: DeletedRecord| proto::DeletedFile {
            deleted_at_ms: deleted.deleted_at.timestamp_millis(),
            file: Some(wire::listed(deleted.file)),
        };
        Ok(Response::new(proto::ListDeletedResponse {
            files: page.files.into_iter().map(shown).collect(),
            next: page.next.unwrap_or_default(),
        }))
    }

    async fn restore(
        &self,
        request: Request<proto::RestoreFileRequest>,
    ) -> Result<Response<proto::RestoreFileResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self
            .admit(&request, "Restore", Action::DataWrite, env)
            .await?;
        let version = request.into_inner().version;
        let restored = self.files.restore(&scope, &version).await;
        let restored = restored.map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(proto::RestoreFileResponse {
            file: Some(wire::shown(restored)),
        }))
    }

    async fn copy(
        &self,
        request: Request<proto::CopyFileRequest>,
    ) -> Result<Response<proto::CopyFileResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self.admit(&request, "Copy", Action::DataWrite, env).await?;
        let asked = request.into_inner();
        let copied = async {
            let from = self.find(&scope, &asked.from, &asked.from_version).await?;
            let mut new = wire::new_file(asked.to, from.bytes())?;
            if asked.keep_properties {
                new = NewFile {
                    content_type: Some(from.content_type.clone()),
                    metadata: from.metadata.clone(),
                    owner: from.owner.clone(),
                    ..new
                };
            }
            self.files.copy(&scope, &from, new).await
        };
        let copied = copied
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        let file = Some(wire::shown(copied));
        Ok(Response::new(proto::CopyFileResponse { file }))
    }

    async fn link(
        &self,
        request: Request<proto::LinkFileRequest>,
    ) -> Result<Response<proto::LinkFileResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self.admit(&request, "Link", Action::DataRead, env).await?;
        let asked = request.into_inner();
        let linked = async {
            let record = self.find(&scope, &asked.path, "").await?;
            let path = record.file_path()?;
            let limits = self.files.limits();
            let life = match asked.life_s {
                0 => limits.download_link_life,
                life_s => Duration::from_secs(life_s),
            };
            if life > limits.download_link_life_max {
                return Err(StorageError::Invalid(format!(
                    "an address lives for {} seconds at most",
                    limits.download_link_life_max.as_secs()
                )));
            }
            let life_s = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
            let until_s = ((self.now_ms)() / 1000).saturating_add(life_s);
            let signature = self.links.sign_download(&scope.env, &path, until_s);
            let signature = signature.ok_or_else(|| {
                StorageError::Unavailable("this node does not know its cluster yet".to_owned())
            })?;
            let plain = address::plain("", &scope.env, &path);
            Ok(proto::LinkFileResponse {
                path_and_query: address::signed(&plain, &signature, until_s),
                until_s,
            })
        };
        let told = linked
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(told))
    }

    async fn put(
        &self,
        request: Request<proto::PutFileRequest>,
    ) -> Result<Response<proto::PutFileResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self.admit(&request, "Put", Action::DataWrite, env).await?;
        let asked = request.into_inner();
        let stored = async {
            let bytes = asked.content.len();
            if bytes > SMALL_FILE_BYTES_MAX {
                return Err(StorageError::TooLarge {
                    bytes_max: SMALL_FILE_BYTES_MAX as u64,
                });
            }
            let new = wire::new_file(asked.file, bytes as u64)?;
            // These are small, and as many as there may be requests: what bounds chunks would only make them wait.
            self.files.put(&scope, new, &asked.content[..]).await
        };
        let stored = stored
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        let file = Some(wire::shown(stored));
        Ok(Response::new(proto::PutFileResponse { file }))
    }

    async fn missing(
        &self,
        request: Request<proto::MissingChunksRequest>,
    ) -> Result<Response<proto::MissingChunksResponse>, Status> {
        let asked = request.get_ref();
        let scope = self
            .admit(&request, "Missing", Action::DataWrite, &asked.env)
            .await?;
        let missing = async {
            let upload = wire::upload(&asked.upload)?;
            let hashes = wire::hashes(&asked.hashes)?;
            self.files.missing(upload, &hashes).await
        };
        let missing = missing
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(proto::MissingChunksResponse { missing }))
    }

    async fn put_chunks(
        &self,
        request: Request<proto::PutChunksRequest>,
    ) -> Result<Response<proto::PutChunksResponse>, Status> {
        let env = &request.get_ref().env;
        let scope = self
            .admit(&request, "PutChunks", Action::DataWrite, env)
            .await?;
        let asked = request.into_inner();
        let stored = async {
            let upload = wire::upload(&asked.upload)?;
            let _turn = self.turn_to_write().await?;
            let named = tokio::task::spawn_blocking(move || wire::chunks(asked.chunks)).await;
            let chunks = named.map_err(|error| StorageError::Aborted(error.to_string()))??;
            self.files.put_chunks(upload, chunks).await
        };
        stored
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(proto::PutChunksResponse {}))
    }

    async fn commit(
        &self,
        request: Request<Streaming<proto::CommitFileRequest>>,
    ) -> Result<Response<proto::CommitFileResponse>, Status> {
        // Nobody unknown gets a message read; who is known is asked again once it has said where it wants to write.
        let method = "/yunbase.v1.Storage/Commit";
        self.door
            .admit(&request, method)
            .await
            .map_err(at_the_door)?;
        let (metadata, extensions, mut messages) = request.into_parts();
        let first = tokio::time::timeout(COMMIT_PAUSE_MAX, messages.message()).await;
        let first = first.map_err(|_| {
            let error = StorageError::Aborted("the commit did not come".to_owned());
            status_of(error, "")
        })??;
        let first = first.ok_or_else(|| Status::invalid_argument("the commit is empty"))?;
        let request = Request::from_parts(metadata, extensions, ());
        let scope = self
            .admit(&request, "Commit", Action::DataWrite, &first.env)
            .await?;
        let committed = async {
            let upload = wire::upload(&first.upload)?;
            let new = wire::new_file(first.file, self.files.limits().file_bytes_max)?;
            let (pieces, _room) = self.take_pieces(&first.pieces, &mut messages).await?;
            self.files.commit_chunks(&scope, upload, new, pieces).await
        };
        let committed = committed
            .await
            .map_err(|error| status_of(error, &scope.request_id))?;
        let file = Some(wire::shown(committed));
        Ok(Response::new(proto::CommitFileResponse { file }))
    }

    type GetStream = Answers<proto::GetFileResponse>;

    async fn get(
        &self,
        request: Request<proto::GetFileRequest>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let asked = request.get_ref();
        let scope = self
            .admit(&request, "Get", Action::DataRead, &asked.env)
            .await?;
        let opened = async {
            let too_many = "this node serves as many downloads as it may: try again shortly";
            let permit = one_of(&self.downloads, too_many)?;
            let record = self.find(&scope, &asked.path, &asked.version).await?;
            let range = wire::range(&record, asked.from, asked.until)?;
            let body = self.files.open(&record, range);
            Ok::<_, StorageError>((permit, body, record))
        };
        let opened = opened.await;
        let (permit, body, record) = opened.map_err(|error| status_of(error, &scope.request_id))?;
        let first = proto::GetFileResponse {
            file: Some(wire::shown(record)),
            content: bytes::Bytes::new(),
        };
        let content = body.flat_map(move |piece| {
            // Lives as long as the content is being sent.
            let _permit = &permit;
            stream::iter(wire::messages(piece, &scope.request_id))
        });
        let answers = stream::once(std::future::ready(Ok(first))).chain(content);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn describe(
        &self,
        request: Request<proto::DescribeFileRequest>,
    ) -> Result<Response<proto::DescribeFileResponse>, Status> {
        let asked = request.get_ref();
        let scope = self
            .admit(&request, "Describe", Action::DataRead, &asked.env)
            .await?;
        let described = async {
            let record = self.find(&scope, &asked.path, "").await?;
            let detail = self.files.describe(&record).await?;
            Ok::<_, StorageError>((record, detail))
        };
        let described = described.await;
        let (record, detail) = described.map_err(|error| status_of(error, &scope.request_id))?;
        Ok(Response::new(proto::DescribeFileResponse {
            file: Some(wire::shown(record)),
            chunks: detail.chunks,
            unique_chunks: detail.unique_chunks,
            unique_bytes: detail.unique_bytes,
            stored_bytes: detail.stored_bytes,
            replicas_min: detail.replicas_min,
            replicas_wanted: detail.replicas_wanted,
            holders: detail.holders.into_iter().collect(),
        }))
    }

    type VerifyStream = Answers<proto::VerifyFilesReport>;

    async fn verify(
        &self,
        request: Request<proto::VerifyFilesRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let asked = request.get_ref();
        let (env, deep) = (&asked.env, asked.deep);
        let scope = self
            .admit(&request, "Verify", Action::DataRead, env)
            .await?;
        let too_many = "another check is under way on this node: wait for its end";
        let permit = one_of(&self.verifications, too_many)
            .map_err(|error| status_of(error, &scope.request_id))?;
        let (reports, mut told) = mpsc::channel(1);
        let files = self.files.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _permit = permit;
            let mut next = Instant::now();
            let progress = |report: &VerifyReport| {
                // A reader that is slow misses some of them.
                if Instant::now() >= next && reports.try_send(Ok(reported(report, false))).is_ok() {
                    next = Instant::now() + REPORT_INTERVAL;
                }
            };
            let outcome = files.verify(&scope, deep, progress).await;
            let last = outcome
                .map(|report| reported(&report, true))
                .map_err(|error| status_of(error, &scope.request_id));
            // An error means that nobody listens any more.
            let _ = reports.send(last).await;
        });
        let answers = stream::poll_fn(move |cx| {
            // Dropped with the stream, which ends the check.
            let _task = &task;
            told.poll_recv(cx)
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[cfg(test)]
#[path = "service/service_test.rs"]
mod tests;
