//! `files`: put, overwrite, get, delete and list of files whose contents follow from a number, so that every byte that comes back
//! is checked; linearizable for each file. At the end every copy of every chunk is read, and all must be as they should.

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use yunbase_client::storage::{Condition, FileQuery, NewFile};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, linearizable};
use crate::history::Value;

/// Files that are in use at one time.
const KEYS: i64 = 4;
/// Steps until the next files, so that no history of a file is too long to judge.
const STEPS_PER_GENERATION: i64 = 400;
/// Sizes of contents: nothing, less than a chunk, some chunks, and enough to be sent in batches.
const SIZES: [usize; 5] = [0, 100, 20_000, 150_000, 1_500_000];
/// Contents share their first half with as many others as there are numbers for each of these.
const SHARED: u64 = 7;
/// In the place of a file: all of them are verified, which sees what nobody wrote when something is lost.
const VERIFY: i64 = -1;
/// What stands in front of every content that is not empty: the number that it follows from.
const HEAD: usize = 8;

/// What a node says of a file that is not there.
const NOT_FOUND: &str = "STORAGE_FILE_NONEXIST";

/// See the module.
pub(super) struct Files;

fn path(key: i64) -> String {
    format!("files/{key:06}.bin")
}

/// The content that `value` stands for; large ones are rare.
fn content(value: i64) -> Vec<u8> {
    let seed = value.unsigned_abs();
    let class = match seed % 16 {
        0 => 0,
        1..=4 => 1,
        5..=11 => 2,
        12..=14 => 3,
        _ => 4,
    };
    let mut content = vec![0; SIZES[class]];
    if content.len() <= HEAD {
        return Vec::new();
    }
    let middle = content.len() / 2;
    let (shared, own) = content.split_at_mut(middle);
    StdRng::seed_from_u64(seed % SHARED).fill_bytes(shared);
    StdRng::seed_from_u64(seed).fill_bytes(own);
    content[..HEAD].copy_from_slice(&value.to_be_bytes());
    content
}

/// The number whose content this is, or what is wrong with it.
fn value_of(bytes: &[u8], etag_bytes: u64) -> Value {
    if bytes.len() as u64 != etag_bytes {
        return Value::Text(format!("{} bytes of {etag_bytes}", bytes.len()));
    }
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        // All empty contents are one value.
        return match bytes.is_empty() {
            true => Value::Int(0),
            false => Value::Text("a content that nobody wrote".to_owned()),
        };
    };
    let value = i64::from_be_bytes(*head);
    match content(value) == bytes {
        true => Value::Int(value),
        false => Value::Text(format!("other bytes under the head of {value}")),
    }
}

impl Workload for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn about(&self) -> &'static str {
        "put, get, delete and list files: lost or stale ones, wrong bytes, missing copies at the end"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            let first = NewFile::at("files/first.bin");
            let storage = session.client.storage();
            storage.put_bytes(first, "first").await.map(drop)
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let generation = place.progress() / STEPS_PER_GENERATION;
        let key = generation * KEYS + rng.random_range(0..KEYS);
        let of = |value| Value::List(vec![Value::Int(key), value]);
        match rng.random_range(0..20) {
            0..=8 => Step::new("read", of(Value::Nil)),
            9..=16 => {
                // Numbers of empty contents stand for one value.
                let value = place.unique() + 1;
                let value = if value % 16 == 0 { 0 } else { value };
                Step::new("write", of(Value::Int(value)))
            }
            17..=18 => Step::new("write", of(Value::Nil)),
            _ => Step::new("read", of(Value::Text("list".to_owned()))),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let storage = session.client.storage();
            let Some([Value::Int(key), argument]) = step.value.as_list() else {
                return Outcome::Fail("not a file's step".into());
            };
            let of = |value| Outcome::Ok(Value::List(vec![Value::Int(*key), value]));
            if *key == VERIFY {
                return match storage.verify(true, |_| ()).await {
                    Ok(report) if report.lost_chunks > 0 => of(Value::Text(format!("{report:?}"))),
                    Ok(report) if is_whole(&report) => of(Value::Nil),
                    Ok(report) => Outcome::Fail(format!("copies are missing: {report:?}")),
                    Err(error) => Outcome::of_error(&error),
                };
            }
            let path = path(*key);
            let outcome = match (step.f, argument) {
                ("write", Value::Int(value)) => {
                    let put = storage.put_bytes(NewFile::at(path), content(*value)).await;
                    put.map(|_| argument.clone())
                }
                ("write", _) => {
                    let deleted = storage.delete(&path, Condition::None).await;
                    deleted.map(|_| Value::Nil)
                }
                ("read", Value::Text(_)) => {
                    let listed = storage.list(&FileQuery::below(path.clone())).await;
                    match listed {
                        // What a listing shows is there: it is read too.
                        Ok(page) if page.files.iter().any(|file| file.path == path) => {
                            read(session, &path).await
                        }
                        Ok(_) => Ok(Value::Nil),
                        Err(error) => Err(error),
                    }
                }
                ("read", _) => read(session, &path).await,
                _ => return Outcome::Fail("not a file's step".into()),
            };
            match outcome {
                Ok(value) => of(value),
                Err(error) => Outcome::of_error(&error),
            }
        })
    }

    fn last(&self) -> Vec<Step> {
        let verify = Value::List(vec![Value::Int(VERIFY), Value::Nil]);
        vec![Step::new("read", verify)]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(linearizable::registers())
    }
}

fn is_whole(report: &yunbase_client::storage::VerifyReport) -> bool {
    report.missing_copies == 0 && report.damaged_copies == 0 && report.unreachable.is_empty()
}

async fn read(session: &Session, path: &str) -> yunbase_client::Result<Value> {
    let storage = session.client.storage();
    let download = match storage.get(path, ..).await {
        Ok(download) => download,
        Err(error) if error.code() == NOT_FOUND => return Ok(Value::Nil),
        Err(error) => return Err(error),
    };
    let bytes = download.file().bytes;
    let parts: Vec<_> = download.try_collect().await?;
    Ok(value_of(&parts.concat(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_tells_its_number_and_damage_is_told() {
        for value in [0, 1, 5, 12, 15, 31] {
            let content = content(value);
            let bytes = content.len() as u64;
            let expected = if content.is_empty() { 0 } else { value };
            assert_eq!(value_of(&content, bytes), Value::Int(expected));
            if let Some(last) = content.len().checked_sub(1) {
                let mut damaged = content.clone();
                damaged[last] ^= 1;
                assert!(matches!(value_of(&damaged, bytes), Value::Text(_)));
                assert!(matches!(value_of(&content[..last], bytes), Value::Text(_)));
            }
        }
    }
}
