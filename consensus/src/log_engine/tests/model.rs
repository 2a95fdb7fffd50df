//! Random operations on several groups, with crashes that lose unsynced writes, against a model.

use std::collections::BTreeMap;

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::types::Vote;

/// One group's log as it should look.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    /// Terms by index.
    entries: BTreeMap<u64, u64>,
    vote: Option<Vote>,
    purged: Option<LogId>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries
            .last_key_value()
            .map(|(index, term)| log_id(*term, *index))
            .or(self.purged)
    }
}

/// A model after each operation since the last one known to be durable.
type History = Vec<Model>;

struct Run {
    random: StdRng,
    disk: Arc<MemoryDisk>,
    engine: LogEngine,
    histories: BTreeMap<GroupId, History>,
    term: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(MemoryDisk::default());
        let engine = LogEngine::in_memory_pumped(disk.clone(), &Self::options()).unwrap();
        let histories = (0..3)
            .map(|group| (GroupId(group), vec![Model::default()]))
            .collect();
        Self {
            random: StdRng::seed_from_u64(seed),
            disk,
            engine,
            histories,
            term: 1,
        }
    }

    /// Small limits, so that a short run meets all of them.
    fn options() -> LogOptions {
        LogOptions {
            tail_bytes_max: 400,
            batch_ops_max: 3,
            read_bytes_max: 300,
            ..LogOptions::default()
        }
    }

    async fn step(&mut self) {
        let group = GroupId(self.random.random_range(0..3));
        let mut log = self.engine.group(group);
        let mut model = self.histories[&group].last().unwrap().clone();
        let next = model.last().map_or(0, |last| last.index + 1);
        let some_index = |random: &mut StdRng, model: &Model| {
            let indexes: Vec<u64> = model.entries.keys().copied().collect();
            (!indexes.is_empty()).then(|| indexes[random.random_range(0..indexes.len())])
        };
        match self.random.random_range(0..10) {
            0..5 => {
                let count = self.random.random_range(1..5);
                submit(&mut log, self.term, next..next + count).await;
                model
                    .entries
                    .extend((next..next + count).map(|index| (index, self.term)));
            }
            5 => {
                self.term += 1;
                let vote = Vote::new(self.term, 1);
                let mut saver = log.clone();
                let saving = tokio::spawn(async move { saver.save_vote(&vote).await });
                tokio::task::yield_now().await;
                self.engine.pump();
                saving.await.unwrap().unwrap();
                model.vote = Some(vote);
            }
            6 => {
                let Some(index) = some_index(&mut self.random, &model) else {
                    return;
                };
                log.truncate_after(Some(log_id(model.entries[&index], index)))
                    .await
                    .unwrap();
                model.entries.retain(|i, _| *i <= index);
                self.term += 1;
            }
            7 => {
                let Some(index) = some_index(&mut self.random, &model) else {
                    return;
                };
                let upto = log_id(model.entries[&index], index);
                log.set_flushed(Some(upto)).unwrap();
                log.purge(upto).await.unwrap();
                model.entries.retain(|i, _| *i > index);
                model.purged = Some(upto);
            }
            _ => {
                self.engine.pump();
            }
        }
        self.histories.get_mut(&group).unwrap().push(model);
        if self.disk.unsynced_batches() == 0 && self.random.random_bool(0.5) {
            self.engine.pump();
            if self.disk.unsynced_batches() == 0 {
                // All is durable: what came before may not come back.
                for history in self.histories.values_mut() {
                    history.drain(..history.len() - 1);
                }
            }
        }
    }

    async fn check_live(&self) {
        for (group, history) in &self.histories {
            assert_eq!(&self.read(*group).await, history.last().unwrap(), "{group}");
        }
    }

    async fn read(&self, group: GroupId) -> Model {
        let mut log = self.engine.group(group);
        let entries = log.try_get_log_entries(..).await.unwrap();
        for found in &entries {
            assert_eq!(
                *found,
                entry(found.log_id.leader_id.term, found.log_id.index, 16)
            );
        }
        let model = Model {
            entries: entries
                .iter()
                .map(|entry| (entry.log_id.index, entry.log_id.leader_id.term))
                .collect(),
            vote: log.read_vote().await.unwrap(),
            purged: log.get_log_state().await.unwrap().last_purged_log_id,
        };
        assert_eq!(model.last(), last(&mut log).await);
        model
    }

    async fn crash(&mut self) {
        // What is still in the queue is lost with the process.
        self.disk.power_off();
        let idle = LogEngine::in_memory_pumped(Arc::default(), &Self::options()).unwrap();
        drop(std::mem::replace(&mut self.engine, idle));
        let kept = self.random.random_range(0..=self.disk.unsynced_batches());
        self.disk.crash(kept);
        self.engine = LogEngine::in_memory_pumped(self.disk.clone(), &Self::options()).unwrap();
        let groups: Vec<GroupId> = self.histories.keys().copied().collect();
        for group in groups {
            let found = self.read(group).await;
            let history = self.histories.get_mut(&group).unwrap();
            assert!(
                history.contains(&found),
                "{group} came back as {found:?}, which it never was: {history:?}"
            );
            *history = vec![found];
        }
    }
}

#[tokio::test]
async fn random_operations_and_crashes() {
    let seed = std::env::var("YUNBASE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or_else(|| (0..40).collect::<Vec<u64>>(), |seed| vec![seed]);
    for seed in seeds {
        // Captured by the test runner, shown when the test fails.
        eprintln!("seed {seed}: rerun with YUNBASE_TEST_SEED={seed}");
        let mut run = Run::new(seed);
        for round in 0..6 {
            for _ in 0..40 {
                run.step().await;
            }
            run.check_live().await;
            if round % 2 == 1 {
                run.crash().await;
            }
        }
    }
}
