//! The transactions that are open on this node, and what bounds them: their number, their age, their memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use yunbase_consensus::NodeId;

use super::memory::Memory;
use super::{WorkingSet, unknown};
use crate::call::{Caller, EndUser, Failure, Retry};
use crate::identity::random_id;

/// Most open transactions of a node. With the bound of each, this bounds their memory.
const OPEN_MAX: usize = 1000;
/// Most of them that are end users': some are left for administrators.
const OPEN_OF_USERS_MAX: usize = 800;
/// Most of one end user, signed in however often.
const OPEN_OF_USER_MAX: usize = 20;
/// A transaction that no request came for is ended after this: its client has gone.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How often those that are over are looked for, so that they do not hold memory.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Longest life of a transaction: the longer it is open, the less likely its commit.
const AGE_MAX: Duration = Duration::from_secs(120);

/// An open transaction. Its requests take turns.
pub struct Open {
    env: String,
    /// Whose it is; `None` = an administrator's.
    owner: Option<Arc<EndUser>>,
    began: Instant,
    used: Mutex<Instant>,
    /// Held by the request that is being carried out.
    pub turn: tokio::sync::Mutex<()>,
    /// What it has read and written.
    pub set: tokio::sync::Mutex<WorkingSet>,
}

impl Open {
    /// The end user whose it is.
    pub fn owner(&self) -> Option<&Arc<EndUser>> {
        self.owner.as_ref()
    }

    /// Whether `caller` may go on with it: any administrator with theirs, a user in the same sign-in.
    fn is_of(&self, env: &str, caller: &Caller) -> bool {
        let own = match (caller, &self.owner) {
            (Caller::User(user), Some(owner)) => user == owner,
            (Caller::Administrator { .. } | Caller::System, None) => true,
            _ => false,
        };
        own && self.env == env
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) > AGE_MAX
            || now.saturating_duration_since(*self.used.lock()) > IDLE_MAX
    }
}

/// The open transactions of a node.
#[derive(Default)]
pub struct Registry {
    open: Mutex<HashMap<String, Arc<Open>>>,
    memory: Memory,
    swept: Mutex<Option<Instant>>,
}

impl Registry {
    /// Opens a transaction on node `own`; its id names the node.
    pub fn begin(&self, own: NodeId, env: &str, caller: &Caller) -> Result<String, Failure> {
        let now = Instant::now();
        let owner = match caller {
            Caller::User(user) => Some(user.clone()),
            Caller::Administrator { .. } | Caller::System => None,
        };
        let mut open = self.open.lock();
        let mut swept = self.swept.lock();
        let is_due = swept.is_none_or(|swept| now.duration_since(swept) > SWEEP_EVERY);
        if is_due || room(&open, env, owner.as_deref()).is_err() {
            open.retain(|_, transaction| !transaction.is_over(now));
            *swept = Some(now);
        }
        room(&open, env, owner.as_deref())?;
        let id = format!("{own:x}-{}", random_id());
        let transaction = Open {
            env: env.to_owned(),
            owner,
            began: now,
            used: Mutex::new(now),
            turn: tokio::sync::Mutex::default(),
            set: tokio::sync::Mutex::new(WorkingSet::new(self.memory.share())),
        };
        open.insert(id.clone(), Arc::new(transaction));
        Ok(id)
    }

    /// The transaction `id` of `caller` in `env`, for one more request.
    pub fn find(&self, id: &str, env: &str, caller: &Caller) -> Result<Arc<Open>, Failure> {
        let now = Instant::now();
        let mut open = self.open.lock();
        let found = open.get(id).filter(|found| found.is_of(env, caller));
        let found = found.cloned().ok_or_else(unknown)?;
        if found.is_over(now) {
            open.remove(id);
            return Err(unknown());
        }
        *found.used.lock() = now;
        Ok(found)
    }

    /// Ends the transaction `id` of `caller` in `env`.
    pub fn end(&self, id: &str, env: &str, caller: &Caller) -> Result<Arc<Open>, Failure> {
        let found = self.find(id, env, caller)?;
        self.open.lock().remove(id);
        Ok(found)
    }

    /// The node that a transaction lives on, by its id.
    pub fn node_of(id: &str) -> Result<NodeId, Failure> {
        let (node, _) = id.split_once('-').ok_or_else(unknown)?;
        NodeId::from_str_radix(node, 16).map_err(|_| unknown())
    }
}

/// Refuses one more where there are too many.
fn room(
    open: &HashMap<String, Arc<Open>>,
    env: &str,
    owner: Option<&EndUser>,
) -> Result<(), Failure> {
    let full = |most: usize, whose: &str| {
        Err(Failure::new(
            "EXCEED_REQUEST_LIMIT",
            format!("{most} transactions {whose} are open on this node; try again shortly"),
            Retry::Safe,
        ))
    };
    if open.len() >= OPEN_MAX {
        return full(OPEN_MAX, "in all");
    }
    let Some(owner) = owner else {
        return Ok(());
    };
    let (mut of_users, mut of_user) = (0, 0);
    for other in open.values() {
        if let Some(user) = &other.owner {
            of_users += 1;
            of_user += usize::from(user.uid == owner.uid && other.env == env);
        }
    }
    if of_user >= OPEN_OF_USER_MAX {
        return full(OPEN_OF_USER_MAX, "of this user");
    }
    if of_users >= OPEN_OF_USERS_MAX {
        return full(OPEN_OF_USERS_MAX, "of end users");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::user;

    const ADMINISTRATOR: Caller = Caller::System;

    #[test]
    fn a_transaction_is_known_to_its_environment_until_it_ends() {
        let registry = Registry::default();
        let id = registry.begin(0x2a, "shop", &ADMINISTRATOR).unwrap();
        assert_eq!(Registry::node_of(&id), Ok(0x2a));
        assert!(registry.find(&id, "shop", &ADMINISTRATOR).is_ok());
        assert!(registry.find(&id, "lab", &ADMINISTRATOR).is_err());
        assert!(registry.end(&id, "shop", &ADMINISTRATOR).is_ok());
        let gone = registry.find(&id, "shop", &ADMINISTRATOR);
        assert_eq!(gone.err(), Some(unknown()));
        for nonsense in ["", "-", "zz-1", "nothing"] {
            let found = registry.find(nonsense, "shop", &ADMINISTRATOR);
            assert!(Registry::node_of(nonsense).is_err() || found.is_err());
        }
    }

    #[test]
    fn nobody_goes_on_with_what_somebody_else_began() {
        let registry = Registry::default();
        let me = Caller::User(Arc::new(user("me")));
        let elsewhere = EndUser {
            session: "another".into(),
            ..user("me")
        };
        let others = [
            Caller::User(Arc::new(user("you"))),
            Caller::User(Arc::new(elsewhere)),
            ADMINISTRATOR,
        ];
        let id = registry.begin(1, "shop", &me).unwrap();
        for other in &others {
            assert!(registry.find(&id, "shop", other).is_err(), "{other:?}");
            assert!(registry.end(&id, "shop", other).is_err(), "{other:?}");
        }
        assert!(registry.find(&id, "shop", &me).is_ok());
        let id = registry.begin(1, "shop", &ADMINISTRATOR).unwrap();
        assert!(registry.find(&id, "shop", &me).is_err());
    }

    #[test]
    fn the_number_of_open_ones_is_bounded() {
        let registry = Registry::default();
        let begin = |name: &str| registry.begin(1, "shop", &Caller::User(Arc::new(user(name))));
        for number in 0..OPEN_OF_USERS_MAX {
            begin(&(number / OPEN_OF_USER_MAX).to_string()).unwrap();
        }
        assert_eq!(begin("0").unwrap_err().retry, Retry::Safe);
        assert!(begin("another").is_err());
        for _ in OPEN_OF_USERS_MAX..OPEN_MAX {
            registry.begin(1, "shop", &ADMINISTRATOR).unwrap();
        }
        let over = registry.begin(1, "shop", &ADMINISTRATOR).unwrap_err();
        assert_eq!(over.retry, Retry::Safe);
    }
}
