//! The cluster's duties: who is a member, which group lives where, and the steps that keep it so.

pub mod changes;
pub mod digest;
pub mod directory;
pub mod founding;
pub mod inspect;
pub mod join;
pub mod keys;
pub mod map;
pub mod placement;
pub mod reconcile;
pub mod records;
pub mod refresh;
pub mod removal;
pub mod service;
pub mod standing;
pub mod store;
