//! Compiled rules of collections by the version of their access document. A version never stands for two
//! documents, so an entry is right for ever; what is no longer in use falls out.

use std::sync::Arc;

use bson::RawDocument;
use moka::sync::Cache;

use super::access::Rules;
use super::limits::CACHED_RULES_MAX;
use super::refusal::denied;
use crate::call::Failure;

/// Environment, collection, version.
type Key = (Box<str>, Box<str>, u64);

/// Environment, collection.
type Name = (Box<str>, Box<str>);

/// A node's compiled rules.
pub struct RuleCache {
    compiled: Cache<Key, Arc<Rules>>,
    /// What this node last heard of collections whose group has no replica here.
    remote: Cache<Name, (u64, Arc<Rules>)>,
}

impl Default for RuleCache {
    fn default() -> Self {
        Self {
            compiled: Cache::new(CACHED_RULES_MAX),
            remote: Cache::new(CACHED_RULES_MAX),
        }
    }
}

impl RuleCache {
    /// The rules of an access document. One that this release does not understand allows nothing.
    pub fn compiled(
        &self,
        env: &str,
        collection: &str,
        version: u64,
        access: &RawDocument,
    ) -> Result<Arc<Rules>, Failure> {
        let key = (env.into(), collection.into(), version);
        if let Some(rules) = self.compiled.get(&key) {
            return Ok(rules);
        }
        let rules = Arc::new(Rules::parse(access).map_err(|error| {
            denied(format!(
                "the rules of collection '{collection}' are not understood here: {error}"
            ))
        })?);
        self.compiled.insert(key, rules.clone());
        Ok(rules)
    }

    /// What was last heard of a collection elsewhere. It may be out of date, which the database there notices.
    pub fn heard(&self, env: &str, collection: &str) -> Option<(u64, Arc<Rules>)> {
        self.remote.get(&(env.into(), collection.into()))
    }

    /// Notes what was heard of a collection elsewhere.
    pub fn hear(&self, env: &str, collection: &str, version: u64, rules: Arc<Rules>) {
        self.remote
            .insert((env.into(), collection.into()), (version, rules));
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn a_version_is_compiled_once_and_nonsense_allows_nothing() {
        let cache = RuleCache::default();
        let first = cache
            .compiled("e", "c", 1, &rawdoc! { "mode": "READONLY" })
            .expect("compiled");
        let again = cache.compiled("e", "c", 1, &rawdoc! {}).expect("cached");
        assert!(Arc::ptr_eq(&first, &again));
        let next = cache.compiled("e", "c", 2, &rawdoc! {}).expect("compiled");
        assert_eq!(*next, Rules::Private);
        let failure = cache
            .compiled("e", "c", 3, &rawdoc! { "mode": "LATER" })
            .expect_err("refused");
        assert_eq!(failure.code, "DATABASE_PERMISSION_DENIED");
    }
}
