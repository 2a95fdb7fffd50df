//! Where the content of files is, and whether it is intact.

use std::collections::BTreeMap;

use super::Storage;
use super::call::Call;
use super::decision::{Class, Next, decide};
use super::file::{StoredFile, required};
use crate::error::{Error, Result};
use crate::limits::FILE_TRANSFER_DEADLINE_MIN;
use crate::proto;

/// Where the content of a file is, and what of it is stored once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDetail {
    /// The file.
    pub file: StoredFile,
    /// Chunks that it is made of.
    pub chunks: u64,
    /// Different ones.
    pub unique_chunks: u64,
    /// Content of the different ones.
    pub unique_bytes: u64,
    /// What they take on one node, after compression.
    pub stored_bytes: u64,
    /// Copies that the chunk with the fewest of them has.
    pub replicas_min: u32,
    /// How many there should be.
    pub replicas_wanted: u32,
    /// Chunks by node.
    pub holders: BTreeMap<u64, u64>,
}

/// What a check of all files has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files checked.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Copies that were not where they should be.
    pub missing_copies: u64,
    /// Copies whose content was not that of their name.
    pub damaged_copies: u64,
    /// Chunks without any intact copy.
    pub lost_chunks: u64,
    /// The first of the files that need them.
    pub lost_files: Vec<String>,
    /// Chunks that nothing names, kept past the grace period.
    pub unnamed_chunks: u64,
    /// Copies that were made anew meanwhile.
    pub repaired_copies: u64,
    /// Nodes that could not be asked.
    pub unreachable: Vec<u64>,
}

impl VerifyReport {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        self.missing_copies == 0
            && self.damaged_copies == 0
            && self.lost_chunks == 0
            && self.lost_files.is_empty()
            && self.unnamed_chunks == 0
            && self.unreachable.is_empty()
    }
}

impl From<proto::VerifyFilesReport> for VerifyReport {
    fn from(told: proto::VerifyFilesReport) -> Self {
        Self {
            files: told.files,
            bytes: told.bytes,
            chunks: told.chunks,
            missing_copies: told.missing_copies,
            damaged_copies: told.damaged_copies,
            lost_chunks: told.lost_chunks,
            lost_files: told.lost_files,
            unnamed_chunks: told.unnamed_chunks,
            repaired_copies: told.repaired_copies,
            unreachable: told.unreachable,
        }
    }
}

impl Storage {
    /// Where the content of a file is.
    pub async fn describe(&self, path: &str) -> Result<FileDetail> {
        let message = proto::DescribeFileRequest {
            env: self.env_name(),
            path: path.to_owned(),
        };
        // A large file has many chunks to ask about.
        let call = self.repeatable("Describe").with_patience();
        let told = self
            .call(call, message, |mut client, request| async move {
                client.describe(request).await
            })
            .await?;
        Ok(FileDetail {
            file: required(told.file)?,
            chunks: told.chunks,
            unique_chunks: told.unique_chunks,
            unique_bytes: told.unique_bytes,
            stored_bytes: told.stored_bytes,
            replicas_min: told.replicas_min,
            replicas_wanted: told.replicas_wanted,
            holders: told.holders.into_iter().collect(),
        })
    }

    /// Checks every file of the environment; `deep` reads and hashes every copy. `progress` is told now and then how far
    /// that has come. Not taken up again where it broke off.
    pub async fn verify(
        &self,
        deep: bool,
        mut progress: impl FnMut(&VerifyReport) + Send,
    ) -> Result<VerifyReport> {
        let message = proto::VerifyFilesRequest {
            env: self.env_name(),
            deep,
        };
        // One file may have many chunks, and a report comes after each file at the soonest.
        let pause_max = self.client.deadline().max(FILE_TRANSFER_DEADLINE_MIN);
        let call = Call::repeatable("Verify", pause_max);
        let mut reports = self
            .call(call, message, |mut client, request| async move {
                client.verify(request).await
            })
            .await?;
        loop {
            let told = tokio::time::timeout(pause_max, reports.message()).await;
            let told = told
                .map_err(|_| Error::unavailable(format!("no report for {pause_max:?}")))?
                .map_err(|status| match decide(Class::Repeatable, &status) {
                    Next::Fail(error) | Next::Again(error) => error,
                })?
                .ok_or_else(|| Error::unavailable("the check ended before its end"))?;
            let is_final = told.is_final;
            let report = VerifyReport::from(told);
            progress(&report);
            if is_final {
                return Ok(report);
            }
        }
    }
}
