//! The stand-in's files: chunks by name and manifests by path, in memory.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request as Call, Response as Reply, Status, Streaming};

use super::{SECRET_ID, SECRET_KEY, Shared, lock};
use crate::auth::Authorization;
use crate::proto::file_condition::Is;
use crate::proto::storage_server::Storage;
use crate::proto::{self, Retry, StoredFile};
use crate::status::failed;

const PIECE_BYTES: usize = 36;
const MESSAGE_BYTES: usize = 16 << 10;
/// Most files of a page: few, so that tests see pages.
const PAGE_FILES: usize = 3;

/// What goes wrong with a request about files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    /// Does nothing and says so.
    Unavailable,
    /// Does it and answers as if the connection had been lost.
    LoseAnswer,
    /// Ends the content with an error after so many bytes.
    CutAfter(usize),
}

/// Files and chunks.
#[derive(Default)]
pub struct FileStore {
    files: BTreeMap<String, (StoredFile, Vec<u8>)>,
    chunks: HashMap<[u8; 32], Bytes>,
    versions: u64,
    /// Content of chunks and small files that arrived.
    pub received_bytes: u64,
    /// Requests, by method.
    pub requests: Vec<&'static str>,
    /// What a check shall report last.
    pub verdict: proto::VerifyFilesReport,
}

impl FileStore {
    /// Stores a file.
    pub fn add(&mut self, path: &str, content: &[u8]) {
        let file = proto::NewStoredFile {
            path: path.to_owned(),
            ..proto::NewStoredFile::default()
        };
        let hash = *blake3::hash(content).as_bytes();
        self.chunks.insert(hash, Bytes::copy_from_slice(content));
        let pieces = piece(&hash, content.len());
        let _ = self.make(file, &pieces);
    }

    /// Paths and contents.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let contents = self.files.iter();
        contents
            .map(|(path, (_, pieces))| (path.clone(), self.content(pieces)))
            .collect()
    }

    fn content(&self, pieces: &[u8]) -> Vec<u8> {
        let hashes = pieces.chunks(PIECE_BYTES).map(|piece| &piece[..32]);
        hashes
            .filter_map(|hash| self.chunks.get(hash))
            .flat_map(|bytes| bytes.to_vec())
            .collect()
    }

    fn find(&self, path: &str) -> Result<&(StoredFile, Vec<u8>), Status> {
        let missing = || {
            let message = format!("there is no file `{path}`");
            refused(Code::NotFound, "STORAGE_FILE_NONEXIST", &message)
        };
        self.files.get(path).ok_or_else(missing)
    }

    fn check(&self, path: &str, condition: Option<&proto::FileCondition>) -> Result<(), Status> {
        let there = self.files.get(path).map(|(file, _)| file);
        let holds = match condition.and_then(|condition| condition.is.as_ref()) {
            None => true,
            Some(Is::Absent(_)) => there.is_none(),
            Some(Is::Version(version)) => there.is_some_and(|file| file.version == *version),
            Some(Is::Etag(etag)) => {
                there.is_some_and(|file| file.etag == *etag || etag.as_str() == "*")
            }
        };
        let conflict = || refused(Code::FailedPrecondition, "STORAGE_CONDITION_FAILED", path);
        holds.then_some(()).ok_or_else(conflict)
    }

    fn make(&mut self, new: proto::NewStoredFile, pieces: &[u8]) -> Result<StoredFile, Status> {
        self.check(&new.path, new.condition.as_ref())?;
        let mut bytes = 0;
        for piece in pieces.chunks(PIECE_BYTES) {
            let chunk = self.chunks.get(&piece[..32]);
            let missing = || {
                refused(
                    Code::FailedPrecondition,
                    "OPERATION_FAIL",
                    "a chunk is gone",
                )
            };
            bytes += chunk.ok_or_else(missing)?.len() as u64;
        }
        self.versions += 1;
        let hash = blake3::hash(pieces);
        let file = StoredFile {
            path: new.path.clone(),
            bytes,
            content_type: new.content_type,
            etag: hash.to_hex()[..16].to_owned(),
            version: format!("v{}", self.versions),
            owner: new.owner,
            metadata: new.metadata,
            modified_at_ms: 1_700_000_000_000,
            content_hash: Bytes::copy_from_slice(hash.as_bytes()),
        };
        self.files.insert(new.path, (file.clone(), pieces.to_vec()));
        Ok(file)
    }

    fn list(&self, asked: &proto::ListFilesRequest) -> proto::ListFilesResponse {
        let mut page = proto::ListFilesResponse::default();
        let limit = match asked.limit as usize {
            0 => PAGE_FILES,
            limit => limit.min(PAGE_FILES),
        };
        for (path, (file, _)) in self.files.range(asked.after.clone()..) {
            let Some(rest) = path.strip_prefix(&asked.prefix) else {
                continue;
            };
            let folder = (!asked.delimiter.is_empty())
                .then(|| rest.split_once(&asked.delimiter))
                .flatten()
                .map(|(name, _)| format!("{}{name}{}", asked.prefix, asked.delimiter));
            let told = folder.as_ref().unwrap_or(path);
            if *told <= asked.after || page.prefixes.last() == Some(told) {
                continue;
            }
            if page.files.len() + page.prefixes.len() == limit {
                break;
            }
            page.next.clone_from(told);
            match folder {
                Some(folder) => page.prefixes.push(folder),
                None => page.files.push(StoredFile {
                    content_hash: Bytes::new(),
                    ..file.clone()
                }),
            }
        }
        if page.files.len() + page.prefixes.len() < limit {
            page.next.clear();
        }
        page
    }
}

fn piece(hash: &[u8; 32], bytes: usize) -> Vec<u8> {
    let size = (bytes as u32).to_le_bytes();
    [hash.as_slice(), &size].concat()
}

fn refused(class: Code, code: &str, message: &str) -> Status {
    failed(class, code, message, Retry::Never, "fake")
}

/// The service of one endpoint.
pub(super) struct Service {
    shared: Arc<Shared>,
}

type Answer<T> = Result<Reply<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Lets a request in, unless it is to fail before anything happens.
    fn admit<T>(&self, method: &'static str, call: &Call<T>) -> Result<Option<FileFault>, Status> {
        let value = call.metadata().get("authorization");
        let value = value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let full = format!("/yunbase.v1.Storage/{method}");
        match Authorization::parse(value) {
            Ok(Authorization::Signed(signed))
                if signed.secret_id == SECRET_ID && signed.verify(SECRET_KEY, &full) => {}
            _ => return Err(Status::unauthenticated("the signature does not match")),
        }
        lock(&self.shared.files).requests.push(method);
        // Asked once a client, at a time that tests do not choose.
        if method == "Parameters" {
            return Ok(None);
        }
        match lock(&self.shared.file_faults).pop_front() {
            Some(FileFault::Unavailable) => Err(failed(
                Code::Unavailable,
                "RESOURCE_UNAVAILABLE",
                "as ordered",
                Retry::Safe,
                "fake",
            )),
            fault => Ok(fault),
        }
    }
}

fn answered<T>(fault: Option<FileFault>, answer: T) -> Answer<T> {
    match fault {
        Some(FileFault::LoseAnswer) => Err(Status::unknown("transport error")),
        _ => Ok(Reply::new(answer)),
    }
}

#[tonic::async_trait]
impl Storage for Service {
    async fn parameters(
        &self,
        call: Call<proto::StorageParametersRequest>,
    ) -> Answer<proto::StorageParametersResponse> {
        let fault = self.admit("Parameters", &call)?;
        let told = proto::StorageParametersResponse {
            algorithm: "fastcdc-2020".into(),
            chunk_bytes_min: 1 << 10,
            chunk_bytes_average: 4 << 10,
            chunk_bytes_max: 16 << 10,
            normalization_level: 1,
            small_file_bytes_max: 1 << 10,
            inline_pieces_max: 4096,
            list_pieces_max: 16_384,
        };
        answered(fault, told)
    }

    async fn stat(&self, call: Call<proto::StatFileRequest>) -> Answer<proto::StatFileResponse> {
        let fault = self.admit("Stat", &call)?;
        let path = call.into_inner().path;
        let file = lock(&self.shared.files)
            .find(&path)
            .ok()
            .map(|(file, _)| file.clone());
        answered(fault, proto::StatFileResponse { file })
    }

    async fn list(&self, call: Call<proto::ListFilesRequest>) -> Answer<proto::ListFilesResponse> {
        let fault = self.admit("List", &call)?;
        let page = lock(&self.shared.files).list(&call.into_inner());
        answered(fault, page)
    }

    async fn delete(
        &self,
        call: Call<proto::DeleteFileRequest>,
    ) -> Answer<proto::DeleteFileResponse> {
        let fault = self.admit("Delete", &call)?;
        let asked = call.into_inner();
        let mut files = lock(&self.shared.files);
        files.check(&asked.path, asked.condition.as_ref())?;
        let deleted = files.files.remove(&asked.path).is_some();
        answered(fault, proto::DeleteFileResponse { deleted })
    }

    async fn list_deleted(
        &self,
        call: Call<proto::ListDeletedRequest>,
    ) -> Answer<proto::ListDeletedResponse> {
        let fault = self.admit("ListDeleted", &call)?;
        answered(fault, proto::ListDeletedResponse::default())
    }

    async fn restore(
        &self,
        call: Call<proto::RestoreFileRequest>,
    ) -> Answer<proto::RestoreFileResponse> {
        self.admit("Restore", &call)?;
        Err(Status::not_found("nothing was deleted here"))
    }

    async fn copy(&self, call: Call<proto::CopyFileRequest>) -> Answer<proto::CopyFileResponse> {
        let fault = self.admit("Copy", &call)?;
        let asked = call.into_inner();
        let mut files = lock(&self.shared.files);
        let (_, pieces) = files.find(&asked.from)?.clone();
        let file = files.make(asked.to.unwrap_or_default(), &pieces)?;
        answered(fault, proto::CopyFileResponse { file: Some(file) })
    }

    async fn link(&self, call: Call<proto::LinkFileRequest>) -> Answer<proto::LinkFileResponse> {
        let fault = self.admit("Link", &call)?;
        let asked = call.into_inner();
        lock(&self.shared.files).find(&asked.path)?;
        let told = proto::LinkFileResponse {
            path_and_query: format!("/storage/{}/{}?sign=ff&t=9", asked.env, asked.path),
            until_s: asked.life_s as i64,
        };
        answered(fault, told)
    }

    async fn put(&self, call: Call<proto::PutFileRequest>) -> Answer<proto::PutFileResponse> {
        let fault = self.admit("Put", &call)?;
        let asked = call.into_inner();
        let mut files = lock(&self.shared.files);
        files.received_bytes += asked.content.len() as u64;
        let hash = *blake3::hash(&asked.content).as_bytes();
        let pieces = match asked.content.len() {
            0 => Vec::new(),
            bytes => piece(&hash, bytes),
        };
        files.chunks.insert(hash, asked.content);
        let file = files.make(asked.file.unwrap_or_default(), &pieces)?;
        answered(fault, proto::PutFileResponse { file: Some(file) })
    }

    async fn missing(
        &self,
        call: Call<proto::MissingChunksRequest>,
    ) -> Answer<proto::MissingChunksResponse> {
        let fault = self.admit("Missing", &call)?;
        let hashes = call.into_inner().hashes;
        let files = lock(&self.shared.files);
        let missing = hashes
            .chunks(32)
            .map(|hash| !files.chunks.contains_key(hash))
            .collect();
        answered(fault, proto::MissingChunksResponse { missing })
    }

    async fn put_chunks(
        &self,
        call: Call<proto::PutChunksRequest>,
    ) -> Answer<proto::PutChunksResponse> {
        let fault = self.admit("PutChunks", &call)?;
        let mut files = lock(&self.shared.files);
        for chunk in call.into_inner().chunks {
            files.received_bytes += chunk.len() as u64;
            files.chunks.insert(*blake3::hash(&chunk).as_bytes(), chunk);
        }
        answered(fault, proto::PutChunksResponse {})
    }

    async fn commit(
        &self,
        call: Call<Streaming<proto::CommitFileRequest>>,
    ) -> Answer<proto::CommitFileResponse> {
        let fault = self.admit("Commit", &call)?;
        let mut messages = call.into_inner();
        let (mut new, mut pieces) = (None, Vec::new());
        while let Some(message) = messages.message().await? {
            new = new.or(message.file);
            pieces.extend_from_slice(&message.pieces);
        }
        let file = lock(&self.shared.files).make(new.unwrap_or_default(), &pieces)?;
        answered(fault, proto::CommitFileResponse { file: Some(file) })
    }

    type GetStream = Answers<proto::GetFileResponse>;

    async fn get(&self, call: Call<proto::GetFileRequest>) -> Answer<Self::GetStream> {
        let fault = self.admit("Get", &call)?;
        let asked = call.into_inner();
        let files = lock(&self.shared.files);
        let (file, pieces) = files.find(&asked.path)?;
        if !asked.version.is_empty() && asked.version != file.version {
            let message = "the file was replaced";
            return Err(refused(
                Code::FailedPrecondition,
                "STORAGE_CONDITION_FAILED",
                message,
            ));
        }
        let content = Bytes::from(files.content(pieces));
        let from = usize::try_from(asked.from)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let until = asked.until.map_or(content.len(), |until| {
            usize::try_from(until)
                .unwrap_or(usize::MAX)
                .clamp(from, content.len())
        });
        let mut range = content.slice(from..until);
        let mut answers = vec![Ok(proto::GetFileResponse {
            file: Some(file.clone()),
            content: Bytes::new(),
        })];
        let cut = match fault {
            Some(FileFault::CutAfter(bytes)) if bytes < range.len() => {
                range.truncate(bytes);
                true
            }
            _ => false,
        };
        while !range.is_empty() {
            let content = range.split_to(range.len().min(MESSAGE_BYTES));
            answers.push(Ok(proto::GetFileResponse {
                file: None,
                content,
            }));
        }
        if cut {
            answers.push(Err(Status::unknown("transport error")));
        }
        let answers: Answers<_> = Box::pin(tokio_stream::iter(answers));
        answered(fault, answers)
    }

    async fn describe(
        &self,
        call: Call<proto::DescribeFileRequest>,
    ) -> Answer<proto::DescribeFileResponse> {
        let fault = self.admit("Describe", &call)?;
        let path = call.into_inner().path;
        let files = lock(&self.shared.files);
        let (file, pieces) = files.find(&path)?;
        let chunks = (pieces.len() / PIECE_BYTES) as u64;
        let told = proto::DescribeFileResponse {
            file: Some(file.clone()),
            chunks,
            unique_chunks: chunks,
            unique_bytes: file.bytes,
            stored_bytes: file.bytes,
            replicas_min: 3,
            replicas_wanted: 3,
            holders: HashMap::from([(1, chunks), (2, chunks), (3, chunks)]),
        };
        answered(fault, told)
    }

    type VerifyStream = Answers<proto::VerifyFilesReport>;

    async fn verify(&self, call: Call<proto::VerifyFilesRequest>) -> Answer<Self::VerifyStream> {
        let fault = self.admit("Verify", &call)?;
        let verdict = lock(&self.shared.files).verdict.clone();
        let reports = [
            proto::VerifyFilesReport {
                files: 1,
                ..proto::VerifyFilesReport::default()
            },
            proto::VerifyFilesReport {
                is_final: true,
                ..verdict
            },
        ];
        let reports: Answers<_> = Box::pin(tokio_stream::iter(reports).map(Ok));
        answered(fault, reports)
    }
}
