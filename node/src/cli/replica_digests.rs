//! `yunbase cluster digest`: whether all replicas of a group hold the same.
//!
//! Two states can be compared only behind the same place of the log, and replicas under load are seldom at the same one.
//! So they are asked again and again until one answer has all of them at one place; whatever was equal or not at any place
//! before that counts too.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use yunbase_client::proto::{DigestRequest, ReplicaDigest, StatusRequest};

use super::exit::Exit;
use super::failure::CliError;
use super::management::Management;
use super::output::Printed;

/// Pause between attempts: what is under way has been applied by then.
const PAUSE: Duration = Duration::from_millis(200);

/// What the replicas of one group have said.
#[derive(Debug, Default)]
struct Comparison {
    group: u32,
    /// By applied index: the first digest, and whose it is.
    seen: HashMap<u64, (u64, Bytes)>,
    /// What was found to differ.
    different: Vec<String>,
    last: Vec<ReplicaDigest>,
}

impl Comparison {
    /// Takes an answer in; says whether all replicas were at one place.
    fn take(&mut self, answer: Vec<ReplicaDigest>) -> bool {
        for replica in answer.iter().filter(|replica| replica.problem.is_empty()) {
            let (node, digest) = self
                .seen
                .entry(replica.applied)
                .or_insert_with(|| (replica.node, replica.digest.clone()));
            if *digest != replica.digest {
                self.different.push(format!(
                    "nodes {node} and {} hold different states of group {} at log index {}",
                    replica.node, self.group, replica.applied
                ));
            }
        }
        self.last = answer;
        let places = self.last.iter().map(|replica| replica.applied);
        let mut places: Vec<u64> = places.collect();
        places.dedup();
        places.len() == 1 && self.last.iter().all(|replica| replica.problem.is_empty())
    }

    fn rows(&self) -> impl Iterator<Item = Value> + '_ {
        self.last.iter().map(|replica| {
            let mut row = json!({
                "group": self.group, "node": replica.node, "applied": replica.applied,
                "digest": hex::encode(&replica.digest),
            });
            if !replica.problem.is_empty() {
                row["problem"] = replica.problem.clone().into();
            }
            row
        })
    }

    /// Why the replicas of this group are not known to be equal, when they are not.
    fn verdict(&self, attempts: u32) -> Result<(), CliError> {
        if let Some(different) = self.different.first() {
            return Err(CliError::failed(format!(
                "{different}: one of them is wrong; keep both folders, and compare with the third"
            )));
        }
        let silent: Vec<String> = self
            .last
            .iter()
            .filter(|replica| !replica.problem.is_empty())
            .map(|replica| format!("node {}: {}", replica.node, replica.problem))
            .collect();
        let (group, reason) = match silent.is_empty() {
            true => (self.group, "their places in the log differed".to_owned()),
            false => (self.group, silent.join(", ")),
        };
        Err(CliError::new(
            Exit::Unavailable,
            format!(
                "the replicas of group {group} could not be compared in {attempts} attempts: {reason}"
            ),
        ))
    }
}

/// Compares the replicas of one group, or of all. The rows are printed whatever the verdict is.
pub(super) async fn compare(
    management: &mut Management,
    group: Option<u32>,
    attempts: u32,
) -> Result<(Printed, Result<(), CliError>), CliError> {
    let groups: Vec<u32> = match group {
        Some(group) => vec![group],
        None => {
            let status = management.status(StatusRequest {}).await?;
            status.groups.iter().map(|group| group.id).collect()
        }
    };
    if groups.is_empty() {
        let message = "no node tells of any group: nothing could be compared";
        return Err(CliError::new(Exit::Unavailable, message));
    }
    let (mut rows, mut verdicts) = (Vec::new(), BTreeMap::new());
    for group in groups {
        let mut comparison = Comparison {
            group,
            ..Comparison::default()
        };
        let mut is_settled = false;
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let answer = management.digest(DigestRequest { group }).await?;
            is_settled = comparison.take(answer.replicas);
            if is_settled || !comparison.different.is_empty() {
                break;
            }
        }
        rows.extend(comparison.rows());
        if !is_settled || !comparison.different.is_empty() {
            // Those that differ first: it is the worst that can be said.
            let rank = (comparison.different.is_empty(), group);
            verdicts.insert(rank, comparison.verdict(attempts));
        }
    }
    let verdict = verdicts.into_values().next().unwrap_or(Ok(()));
    Ok((Printed::Rows(rows), verdict))
}

#[cfg(test)]
mod tests {
    use super::super::management_fake::Fake;
    use super::*;

    async fn verdict(answers: &[&[(u64, u64, &'static str)]]) -> (String, Option<Exit>) {
        let fake = Fake::start().await;
        fake.prepare_digests(answers);
        let mut management = fake.management().await;
        let (printed, verdict) = compare(&mut management, None, 3).await.unwrap();
        (printed.to_string(), verdict.err().map(|error| error.exit))
    }

    #[tokio::test]
    async fn replicas_are_compared_at_one_place() {
        let (printed, exit) = verdict(&[&[(1, 5, "x"), (2, 5, "x")]]).await;
        assert_eq!(exit, None, "{printed}");
        assert!(printed.contains("78"), "in hex: {printed}");
        let later = verdict(&[&[(1, 5, "x"), (2, 4, "w")], &[(1, 6, "y"), (2, 6, "y")]]);
        assert_eq!(later.await.1, None);
    }

    #[tokio::test]
    async fn a_difference_at_any_place_is_found() {
        let (_, exit) = verdict(&[&[(1, 5, "x"), (2, 5, "y")]]).await;
        assert_eq!(exit, Some(Exit::Failed));
        let apart = verdict(&[&[(1, 5, "x"), (2, 4, "w")], &[(1, 6, "y"), (2, 5, "z")]]);
        assert_eq!(apart.await.1, Some(Exit::Failed));
    }

    #[tokio::test]
    async fn what_cannot_be_compared_is_not_called_equal() {
        let (_, exit) = verdict(&[&[(1, 5, "x"), (2, 4, "w")]]).await;
        assert_eq!(exit, Some(Exit::Unavailable), "never at one place");
        let (printed, exit) = verdict(&[&[(1, 5, "x"), (2, 5, "")]]).await;
        assert_eq!(exit, Some(Exit::Unavailable), "one is dead");
        assert!(printed.contains("dead"), "{printed}");
        let (_, exit) = verdict(&[&[]]).await;
        assert_eq!(exit, Some(Exit::Unavailable), "nobody has it");
    }
}
