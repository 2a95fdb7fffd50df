//! Replicas: the same commands give the same replies and the same content, whatever the store and
//! however the log is cut into apply calls.

use tempfile::tempdir;
use yunbase_docdb::{Entry, SessionSequence, Step, WritePlan};

use super::generate::Generator;
use super::harness::{Db, ENV, crash_image, memory, rocks};

/// Commands as a leader would propose them, planned on a database of its own, with some duplicated,
/// some damaged, some in sessions.
fn random_log(seed: u64, length: usize) -> Vec<(u64, u32, Vec<u8>)> {
    let mut generator = Generator::new(seed);
    let leader = memory();
    let mut log: Vec<(u64, u32, Vec<u8>)> = Vec::new();
    let session = 1;
    let mut sequence = 0;
    let mut propose = |generator: &mut Generator, command: Vec<u8>| {
        let replies = leader.apply(std::slice::from_ref(&command));
        let log_index = leader.log_index.load(std::sync::atomic::Ordering::Relaxed);
        log.push((log_index, 0, command.clone()));
        if generator.chance(5) {
            leader.apply(std::slice::from_ref(&command));
            log.push((log_index + 1, 0, command));
        }
        replies.into_iter().next().unwrap()
    };
    propose(
        &mut generator,
        yunbase_docdb::command::open_session(leader.now()).unwrap(),
    );
    while leader.log_index.load(std::sync::atomic::Ordering::Relaxed) < length as u64 {
        if generator.chance(2) {
            propose(&mut generator, vec![0xc1, 1, 77]);
        }
        for command in leader.database.pending_builds(leader.now()).unwrap() {
            propose(&mut generator, command);
        }
        sequence += 1;
        leader.advance_ms(generator.below(5) as i64 * 1000);
        let name = generator
            .chance(50)
            .then_some(SessionSequence { session, sequence });
        let Ok(mut plan) = WritePlan::new(ENV, generator.write(), name) else {
            continue;
        };
        while let Ok(Step::Propose(command)) = leader.propose(&mut plan) {
            let reply = propose(&mut generator, command);
            if plan.feed(&reply).is_err() {
                break;
            }
        }
    }
    log
}

/// Applies a log in calls of random size.
fn apply(
    db: &Db,
    log: &[(u64, u32, Vec<u8>)],
    generator: &mut Generator,
    batch_max: usize,
) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    let mut rest = log;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(rest.len().min(1 + generator.below(batch_max)));
        let entries: Vec<_> = batch
            .iter()
            .map(|(log_index, position, payload)| Entry {
                log_index: *log_index,
                position: *position,
                payload,
            })
            .collect();
        let progress = batch.last().unwrap().0.to_le_bytes();
        replies.extend(db.database.apply(&entries, &progress).unwrap());
        rest = later;
    }
    replies
}

#[test]
fn stores_and_batches_do_not_matter() {
    let mut documents = 0;
    for seed in 0..12 {
        let log = random_log(seed, 300);
        let folder = tempdir().unwrap();
        let (single, batched, on_disk) = (memory(), memory(), rocks(folder.path()));
        let mut generator = Generator::new(seed);
        let replies = apply(&single, &log, &mut generator, 1);
        assert_eq!(
            apply(&batched, &log, &mut generator, 64),
            replies,
            "seed {seed}"
        );
        assert_eq!(
            apply(&on_disk, &log, &mut generator, 20),
            replies,
            "seed {seed}"
        );
        let digest = single.database.digest().unwrap();
        assert_eq!(batched.database.digest().unwrap(), digest, "seed {seed}");
        assert_eq!(on_disk.database.digest().unwrap(), digest, "seed {seed}");
        let one = &single.database.stats().unwrap();
        let other = &on_disk.database.stats().unwrap();
        assert_eq!(
            (one.documents, one.document_bytes),
            (other.documents, other.document_bytes),
            "seed {seed}"
        );
        documents += one.documents;
    }
    assert!(documents > 0, "the logs left nothing to compare");
}

/// A replica that crashes anywhere and replays the log from its progress is a replica again.
#[test]
fn a_crashed_replica_catches_up_from_its_progress() {
    for seed in 300..304 {
        let log = random_log(seed, 200);
        let folder = tempdir().unwrap();
        let mut generator = Generator::new(seed);
        let expected = memory();
        apply(&expected, &log, &mut generator, 10);
        let mut home = folder.path().join("0");
        for life in 1..=4 {
            let db = rocks(&home);
            let done = match db.database.progress().unwrap() {
                Some(progress) => u64::from_le_bytes(progress.try_into().unwrap()),
                None => 0,
            };
            let rest = &log[log.partition_point(|(log_index, ..)| *log_index <= done)..];
            let part = if life == 4 {
                rest.len()
            } else {
                rest.len() / 2
            };
            let (before, after) = rest[..part].split_at(generator.below(part + 1));
            apply(&db, before, &mut generator, 10);
            db.database.flush().unwrap();
            apply(&db, after, &mut generator, 10);
            let crashed = folder.path().join(life.to_string());
            crash_image(&home, &crashed);
            home = crashed;
            if life == 4 {
                let digest = db.database.digest().unwrap();
                assert_eq!(digest, expected.database.digest().unwrap(), "seed {seed}");
            }
        }
    }
}

/// After any history, an index holds what a scan finds, and counts are right.
#[test]
fn counters_and_indexes_agree_with_the_documents() {
    for seed in 100..115 {
        let log = random_log(seed, 250);
        let db = memory();
        let mut generator = Generator::new(seed);
        apply(&db, &log, &mut generator, 30);
        for collection in ["x", "y"] {
            let Ok((all, _)) = db.find_op(collection, yunbase_docdb::op::FindOp::default()) else {
                continue;
            };
            assert_eq!(
                db.count(collection, bson::doc! {}),
                all.len() as u64,
                "seed {seed}"
            );
            for _ in 0..40 {
                let filter = generator.filter();
                let expected: Vec<_> = {
                    let parsed = yunbase_docdb::filter::Filter::parse(
                        &super::harness::raw(&filter),
                        &Default::default(),
                    )
                    .unwrap();
                    all.iter()
                        .filter(|document| parsed.matches(&super::harness::raw(document)).unwrap())
                        .cloned()
                        .collect()
                };
                assert_eq!(
                    db.find(collection, filter.clone()),
                    expected,
                    "seed {seed}, filter {filter}"
                );
                assert_eq!(
                    db.count(collection, filter.clone()),
                    expected.len() as u64,
                    "seed {seed}, filter {filter}"
                );
            }
        }
    }
}

/// Whatever arrives as a command is answered, the same way by all, and stops nothing.
#[test]
fn damaged_commands_are_answered() {
    for seed in 200..206 {
        let mut generator = Generator::new(seed);
        let mut log = random_log(seed, 120);
        for (_, _, payload) in &mut log {
            for _ in 0..generator.below(4) {
                let at = generator.below(payload.len());
                payload[at] = generator.below(256) as u8;
            }
            if generator.chance(10) {
                payload.truncate(generator.below(payload.len()));
            }
        }
        let (one, other) = (memory(), memory());
        let replies = apply(&one, &log, &mut generator, 10);
        assert_eq!(replies.len(), log.len(), "seed {seed}");
        assert_eq!(
            apply(&other, &log, &mut generator, 3),
            replies,
            "seed {seed}"
        );
        assert_eq!(
            one.database.digest().unwrap(),
            other.database.digest().unwrap(),
            "seed {seed}"
        );
    }
}
