//! The transactions that are open on this node, and what bounds them: their number, their age, their memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use yunbase_consensus::NodeId;

use super::{WorkingSet, unknown};
use crate::call::{Failure, Retry};
use crate::identity::random_id;

/// Most open transactions of a node. With the bound of each, this bounds their memory.
const OPEN_MAX: usize = 1000;
/// A transaction that no request came for is ended after this: its client has gone.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest life of a transaction: the longer it is open, the less likely its commit.
const AGE_MAX: Duration = Duration::from_secs(120);

/// An open transaction. Its requests take turns.
pub struct Open {
    env: String,
    began: Instant,
    used: Mutex<Instant>,
    /// What it has read and written.
    pub set: tokio::sync::Mutex<WorkingSet>,
}

impl Open {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) > AGE_MAX
            || now.saturating_duration_since(*self.used.lock()) > IDLE_MAX
    }
}

/// The open transactions of a node.
#[derive(Default)]
pub struct Registry {
    open: Mutex<HashMap<String, Arc<Open>>>,
}

impl Registry {
    /// Opens a transaction on node `own`; its id names the node.
    pub fn begin(&self, own: NodeId, env: &str) -> Result<String, Failure> {
        let now = Instant::now();
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            open.retain(|_, transaction| !transaction.is_over(now));
        }
        if open.len() >= OPEN_MAX {
            return Err(Failure::new(
                "EXCEED_REQUEST_LIMIT",
                format!("{OPEN_MAX} transactions are open on this node; try again shortly"),
                Retry::Safe,
            ));
        }
        let id = format!("{own:x}-{}", random_id());
        let transaction = Open {
            env: env.to_owned(),
            began: now,
            used: Mutex::new(now),
            set: tokio::sync::Mutex::default(),
        };
        open.insert(id.clone(), Arc::new(transaction));
        Ok(id)
    }

    /// The transaction `id` of `env`, for one more request.
    pub fn find(&self, id: &str, env: &str) -> Result<Arc<Open>, Failure> {
        let now = Instant::now();
        let mut open = self.open.lock();
        let found = open.get(id).filter(|found| found.env == env);
        let found = found.cloned().ok_or_else(unknown)?;
        if found.is_over(now) {
            open.remove(id);
            return Err(unknown());
        }
        *found.used.lock() = now;
        Ok(found)
    }

    /// Ends the transaction `id` of `env`.
    pub fn end(&self, id: &str, env: &str) -> Result<Arc<Open>, Failure> {
        let found = self.find(id, env)?;
        self.open.lock().remove(id);
        Ok(found)
    }

    /// The node that a transaction lives on, by its id.
    pub fn node_of(id: &str) -> Result<NodeId, Failure> {
        let (node, _) = id.split_once('-').ok_or_else(unknown)?;
        NodeId::from_str_radix(node, 16).map_err(|_| unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_known_to_its_environment_until_it_ends() {
        let registry = Registry::default();
        let id = registry.begin(0x2a, "shop").unwrap();
        assert_eq!(Registry::node_of(&id), Ok(0x2a));
        assert!(registry.find(&id, "shop").is_ok());
        assert!(registry.find(&id, "lab").is_err());
        assert!(registry.end(&id, "shop").is_ok());
        assert_eq!(registry.find(&id, "shop").err(), Some(unknown()));
        for nonsense in ["", "-", "zz-1", "nothing"] {
            assert!(
                Registry::node_of(nonsense).is_err() || registry.find(nonsense, "shop").is_err()
            );
        }
    }

    #[test]
    fn the_number_of_open_ones_is_bounded() {
        let registry = Registry::default();
        for _ in 0..OPEN_MAX {
            registry.begin(1, "shop").unwrap();
        }
        assert_eq!(registry.begin(1, "shop").unwrap_err().retry, Retry::Safe);
    }
}
