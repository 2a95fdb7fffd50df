//! How a cluster says it is: what `yunbase status -o json` prints.

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
    /// Its id, the same as the number of the node here.
    pub id: usize,
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
