//! For the tests of surfaces: the files of one node in this process behind a door, and a clock that the test turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf};
use yunbase_docdb::op::Op;

use super::bed::Bed;
use super::record::FILES;
use super::{FileDoor, Scope, StorageAccess};
use crate::auth::test_bed::Bed as Documents;
use crate::call::{Call, Caller, Execute as _, ReadLevel};
use crate::gateway::Clock;
use crate::storage::links::Links;

/// A node with files.
pub(crate) struct Stage {
    pub(crate) door: Arc<FileDoor>,
    bed: Bed,
    /// Holds the rules of files, beside the documents of the bed.
    rules: Arc<Documents>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let bed = Bed::new(1).await;
        let rules = Documents::new();
        let access = StorageAccess::new(rules.clone(), Duration::from_secs(5));
        let files = bed.nodes[0].files.clone();
        Self {
            door: FileDoor::new(files, Links::fixed([7; 32]), access),
            bed,
            rules,
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.bed.clock.clone()
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.bed.clock.pass(time);
    }

    pub(crate) fn scope(env: &str) -> Scope {
        Scope {
            env: env.to_owned(),
            request_id: "r".to_owned(),
        }
    }

    /// Sets the rules of an environment.
    pub(crate) async fn set_rules(&self, env: &str, access: &Document) {
        let make = Call {
            caller: Caller::System,
            env: env.to_owned(),
            op: Op::CreateCollection {
                collection: FILES.to_owned(),
            },
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: Instant::now() + Duration::from_secs(5),
            request_id: String::new(),
        };
        // From the second time on it is there already.
        let _ = self.rules.execute(make).await;
        let access = RawDocumentBuf::try_from(access).expect("a document");
        let scope = Self::scope(env);
        self.door.access.set(&scope, access).await.expect("set");
    }
}
