//! How a cluster says it is: what `yunbase status -o json` prints.
//!
//! The cluster knows ids, each given once. Here a node is known by the number of its host, which keeps it when its node is
//! replaced by another; so ids become numbers when an answer is read.

use serde::Deserialize;

/// A cluster, in the eyes of the node that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Every group can serve.
    pub healthy: bool,
    /// That in words.
    pub sentence: String,
    /// Its members.
    pub nodes: Vec<Member>,
    /// Its groups.
    pub groups: Vec<Group>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// The number of the host that it runs on; `None` of one that has been replaced.
    #[serde(skip)]
    pub number: Option<usize>,
    /// Where it serves clients.
    pub http: String,
    /// It answers the node that was asked.
    pub reachable: bool,
}

/// A replicated group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its number; 0 holds the cluster's own state.
    pub id: u64,
    /// The node that leads it, if one is known.
    pub leader: Option<usize>,
    /// The term in which that is so.
    pub term: u64,
    /// The last index that is known to be committed.
    pub committed: u64,
    /// The environments whose documents it holds.
    pub environments: Vec<String>,
    /// Its copies.
    pub replicas: Vec<Replica>,
}

/// A copy of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Replica {
    /// The node that has it.
    pub node: usize,
    /// It counts for a majority.
    pub voter: bool,
    /// Its node answers.
    pub reachable: bool,
    /// The last index that it has applied.
    pub applied: u64,
}

impl Status {
    /// The id of the node on host `k`.
    pub fn id_of(&self, k: usize) -> Option<u64> {
        let mut nodes = self.nodes.iter();
        let member = nodes.find(|member| member.number == Some(k))?;
        Some(member.id)
    }

    /// Puts the numbers of hosts in the place of ids; `hosts` are the addresses for clients, in the order of their
    /// numbers. Copies and leaders on replaced nodes are left out.
    pub(super) fn numbered(mut self, hosts: &[String]) -> Self {
        for (index, address) in hosts.iter().enumerate() {
            // Ids grow: of several at one address the last is the one that lives there.
            let members = self.nodes.iter_mut();
            let here = members.filter(|member| member.http == *address);
            if let Some(member) = here.max_by_key(|member| member.id) {
                member.number = Some(index + 1);
            }
        }
        let nodes = std::mem::take(&mut self.nodes);
        let number = |id: usize| {
            let id = u64::try_from(id).ok()?;
            nodes.iter().find(|member| member.id == id)?.number
        };
        for group in &mut self.groups {
            group.leader = group.leader.and_then(number);
            group.replicas.retain_mut(|replica| {
                let host = number(replica.node);
                replica.node = host.unwrap_or(replica.node);
                host.is_some()
            });
        }
        Self { nodes, ..self }
    }

    /// The group of an environment.
    pub fn group_of(&self, env: &str) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| group.environments.iter().any(|name| name == env))
    }
}

impl Group {
    /// The nodes that vote in it.
    pub fn voters(&self) -> Vec<usize> {
        self.replicas
            .iter()
            .filter(|replica| replica.voter)
            .map(|replica| replica.node)
            .collect()
    }
}

/// The state of a copy, by a line of `yunbase cluster digest`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplicaDigest {
    /// The group.
    pub group: i64,
    /// The id of the node that has it.
    pub node: i64,
    /// The last index that it has applied.
    pub applied: i64,
    /// A hash of what it holds.
    pub digest: String,
    /// Why there is none.
    #[serde(default)]
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_the_numbers_of_hosts() {
        let text = r#"{"healthy": true, "sentence": "", "nodes": [
            {"id": 1, "http": "a:1", "reachable": true}, {"id": 2, "http": "b:1", "reachable": false},
            {"id": 5, "http": "b:1", "reachable": true}],
          "groups": [{"id": 1, "leader": 5, "term": 2, "committed": 9, "environments": ["demo"], "replicas": [
            {"node": 1, "voter": true, "reachable": true, "applied": 9},
            {"node": 2, "voter": true, "reachable": false, "applied": 0},
            {"node": 5, "voter": true, "reachable": true, "applied": 9}]}]}"#;
        let status: Status = serde_json::from_str(text).expect("json");
        let status = status.numbered(&["a:1".to_owned(), "b:1".to_owned()]);
        assert_eq!((status.id_of(1), status.id_of(2)), (Some(1), Some(5)));
        assert_eq!(status.id_of(3), None);
        assert_eq!(status.nodes[1].number, None, "it was replaced");
        let group = status.group_of("demo").expect("group");
        assert_eq!((group.leader, group.voters()), (Some(2), vec![1, 2]));
    }
}
