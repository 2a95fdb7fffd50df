//! What each role may do: the one table, and the one question that is put to it.
//!
//! | action | where | owner | developer | viewer |
//! |---|---|---|---|---|
//! | see nodes, groups, environments | cluster | yes | yes | yes |
//! | join tokens, leadership | cluster | yes | | |
//! | create environments | cluster | yes | | |
//! | see keys, without their secrets | environment | yes | yes | |
//! | make and revoke keys | cluster | yes | | |
//! | see and change operators, end their sessions | cluster | yes | | |
//! | read the audit log of the cluster | cluster | yes | | |
//! | read the audit log of an environment | environment | yes | yes | yes |
//! | see collections, their sizes, indexes and rules | environment | yes | yes | yes |
//! | create and drop collections and indexes | environment | yes | yes | |
//! | set rules | environment | yes | yes | |
//! | read documents, plans of queries, files | environment | yes | yes | |
//! | write documents and files | environment | yes | yes | |
//! | see end users, their sessions, refusals by rules | environment | yes | yes | |
//! | change end users and end their sessions | environment | yes | yes | |
//! | set what sign-in of end users needs | environment | yes | yes | |
//!
//! An owner is one for the whole cluster. Developers and viewers are so for all environments, or for one that is named.
//! Everybody may see and end sessions of its own, and change its own password.

use serde::{Deserialize, Serialize};
use yunbase_docdb::op::Op;

/// What an operator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything, to the cluster and to operators too.
    Owner,
    /// Builds apps: data, collections, rules, end users.
    Developer,
    /// Looks at how things are; reads no documents and changes nothing.
    Viewer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Developer, Self::Viewer];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }

    /// The role of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A role and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The one environment; `None` = all, and the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.role.as_str())?;
        match &self.env {
            Some(env) => write!(f, "@{env}"),
            None => Ok(()),
        }
    }
}

/// Something that a caller may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See nodes, groups and environments.
    ClusterView,
    /// Join tokens and leadership.
    ClusterChange,
    /// Create environments.
    EnvironmentChange,
    /// See keys, without their secrets.
    KeyView,
    /// Make and revoke keys.
    KeyChange,
    /// See operators and their sessions.
    OperatorView,
    /// Add, change and remove operators, end their sessions.
    OperatorChange,
    /// Read the audit log of the cluster.
    ClusterAuditView,
    /// Read the audit log of an environment.
    AuditView,
    /// See collections, their sizes, indexes and rules.
    SchemaView,
    /// Create and drop collections and indexes.
    SchemaChange,
    /// Set rules.
    RulesChange,
    /// Read documents and plans of queries; list, read and check files.
    DataRead,
    /// Write documents and files.
    DataWrite,
    /// See end users, their sessions, and what rules refused them.
    UserView,
    /// Change end users, end their sessions.
    UserChange,
    /// Set what the sign-in of end users needs.
    LoginChange,
}

/// Where an action happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the cluster as a whole.
    Cluster,
    /// In one environment.
    Environment(&'a str),
    /// Wherever the caller may; what is answered is then cut down to that.
    Anywhere,
}

const EVERYBODY: &[Role] = &[Role::Owner, Role::Developer, Role::Viewer];
const BUILDERS: &[Role] = &[Role::Owner, Role::Developer];
const OWNERS: &[Role] = &[Role::Owner];

impl Action {
    /// All actions.
    pub const ALL: [Self; 17] = [
        Self::ClusterView,
        Self::ClusterChange,
        Self::EnvironmentChange,
        Self::KeyView,
        Self::KeyChange,
        Self::OperatorView,
        Self::OperatorChange,
        Self::ClusterAuditView,
        Self::AuditView,
        Self::SchemaView,
        Self::SchemaChange,
        Self::RulesChange,
        Self::DataRead,
        Self::DataWrite,
        Self::UserView,
        Self::UserChange,
        Self::LoginChange,
    ];

    /// Its name, and the roles that may do it.
    fn row(self) -> (&'static str, &'static [Role]) {
        match self {
            Self::ClusterView => ("cluster.view", EVERYBODY),
            Self::ClusterChange => ("cluster.change", OWNERS),
            Self::EnvironmentChange => ("environment.change", OWNERS),
            Self::KeyView => ("key.view", BUILDERS),
            Self::KeyChange => ("key.change", OWNERS),
            Self::OperatorView => ("operator.view", OWNERS),
            Self::OperatorChange => ("operator.change", OWNERS),
            Self::ClusterAuditView => ("cluster.audit", OWNERS),
            Self::AuditView => ("audit.view", EVERYBODY),
            Self::SchemaView => ("schema.view", EVERYBODY),
            Self::SchemaChange => ("schema.change", BUILDERS),
            Self::RulesChange => ("rules.change", BUILDERS),
            Self::DataRead => ("data.read", BUILDERS),
            Self::DataWrite => ("data.write", BUILDERS),
            Self::UserView => ("user.view", BUILDERS),
            Self::UserChange => ("user.change", BUILDERS),
            Self::LoginChange => ("login.change", BUILDERS),
        }
    }

    /// Its name, as messages and the audit log have it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Whether `role` may do it, where the role holds.
    pub fn is_for(self, role: Role) -> bool {
        self.row().1.contains(&role)
    }

    /// Whether it changes anything.
    pub fn is_change(self) -> bool {
        self.name().ends_with(".change") || self == Self::DataWrite
    }

    /// What an operation on an environment amounts to. An operation that this table does not know counts as a change of
    /// collections, or as reading documents when it only reads.
    pub fn of_op(op: &Op) -> Self {
        match op {
            Op::ListCollections | Op::ListIndexes { .. } | Op::GetAccess { .. } => Self::SchemaView,
            // Any other count would let a viewer find out contents by asking often enough.
            Op::Count { filter, .. } if filter.iter().next().is_none() => Self::SchemaView,
            Op::Insert { .. }
            | Op::Update { .. }
            | Op::Remove { .. }
            | Op::Commit(_)
            | Op::CommitChecked(_) => Self::DataWrite,
            Op::SetAccess { .. } => Self::RulesChange,
            Op::Guarded { op, .. } => Self::of_op(op),
            op if op.is_read() => Self::DataRead,
            _ => Self::SchemaChange,
        }
    }
}

/// Whether one of `grants` lets its holder do `action` at `place`.
pub fn permits(grants: &[Grant], action: Action, place: Place<'_>) -> bool {
    grants.iter().any(|grant| {
        let holds_there = match (place, &grant.env) {
            (_, None) | (Place::Anywhere, _) => true,
            (Place::Environment(env), Some(own)) => env == own,
            (Place::Cluster, Some(_)) => false,
        };
        holds_there && action.is_for(grant.role)
    })
}
