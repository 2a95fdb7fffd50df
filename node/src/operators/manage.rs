//! Adding, changing and removing operators. Each change and its entry in the audit log are one commit, which holds only
//! if the operators that it was decided by are still as they were read: so the last owner stays, whoever else removes
//! owners at the same moment.

use bson::doc;

use super::limits::OperatorLimits;
use super::records::{OPERATORS, OperatorRecord};
use super::roles::{Grant, Role};
use super::{Operators, busy};
use crate::audit::record::{Act, Origin};
use crate::auth::{AuthError, AuthResult, Counted, Reason};
use crate::call::KeyDirectory;
use crate::cluster::changes::{Changes, Kept};

impl Operators {
    /// All operators, by name.
    pub async fn list(&self) -> AuthResult<Vec<OperatorRecord>> {
        let kept = self.all().await?;
        Ok(kept.into_iter().map(|kept| kept.record).collect())
    }

    /// One operator.
    pub async fn get(&self, name: &str) -> AuthResult<OperatorRecord> {
        let known: Option<Kept<OperatorRecord>> =
            self.store.kept_one(OPERATORS, &name.to_lowercase()).await?;
        known.map(|known| known.record).ok_or_else(|| no_such(name))
    }

    async fn all(&self) -> AuthResult<Vec<Kept<OperatorRecord>>> {
        Ok(self.store.kept(OPERATORS, doc! {}).await?)
    }

    /// Adds an operator.
    pub async fn add(
        &self,
        origin: &Origin,
        environments: &dyn KeyDirectory,
        name: &str,
        password: &str,
        grants: Vec<Grant>,
    ) -> AuthResult<OperatorRecord> {
        let name = name.to_lowercase();
        check_name(&name, &self.limits)?;
        check_password(password, &self.limits)?;
        check_grants(&grants, environments, &self.limits)?;
        if self.all().await?.len() >= self.limits.operators_max {
            let most = self.limits.operators_max;
            return Err(AuthError::new(
                Reason::ResourceExhausted,
                format!("a cluster has at most {most} operators: remove one first"),
            ));
        }
        let record = self.new_record(name, password, grants).await?;
        let act = Act::new("operator.add", &record.name).with(shown(&record.grants));
        if self.insert(origin, &act, &record).await? {
            return Ok(record);
        }
        Err(AuthError::new(
            Reason::AlreadyExists,
            "there is an operator of this name already: choose another",
        ))
    }

    /// Adds the first operator, an owner, should there be none at all. What its configuration asks of a new cluster.
    pub async fn ensure_owner(
        &self,
        origin: &Origin,
        name: &str,
        password: &str,
    ) -> AuthResult<()> {
        if !self.all().await?.is_empty() {
            return Ok(());
        }
        let name = name.to_lowercase();
        let owner = Grant {
            role: Role::Owner,
            env: None,
        };
        let record = self.new_record(name, password, vec![owner]).await?;
        let act = Act::new("operator.add", &record.name).with("owner, by the configuration");
        // Should another node have been faster, it was asked for the same.
        self.insert(origin, &act, &record).await.map(drop)
    }

    async fn new_record(
        &self,
        name: String,
        password: &str,
        grants: Vec<Grant>,
    ) -> AuthResult<OperatorRecord> {
        let now_ms = self.clock.now_unix_ms();
        let password = self.auth.passwords().hash(password.to_owned()).await?;
        Ok(OperatorRecord {
            name,
            password,
            grants,
            // Not a constant: sign-ins of an earlier operator of this name must not count for this one.
            credential_version: now_ms,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        })
    }

    async fn insert(
        &self,
        origin: &Origin,
        act: &Act,
        record: &OperatorRecord,
    ) -> AuthResult<bool> {
        let mut changes = Changes::default();
        changes.add(OPERATORS, &record.name, record)?;
        changes.tell(self.audit.entry(origin, act)?);
        Ok(self.store.commit(changes).await?)
    }

    /// Gives an operator other roles in the place of those that it has.
    pub async fn set_grants(
        &self,
        origin: &Origin,
        environments: &dyn KeyDirectory,
        name: &str,
        grants: Vec<Grant>,
    ) -> AuthResult<OperatorRecord> {
        check_grants(&grants, environments, &self.limits)?;
        let act = Act::new("operator.role", name.to_lowercase()).with(shown(&grants));
        let changed = self
            .change(origin, act, name, |record| {
                Some(OperatorRecord {
                    grants: grants.clone(),
                    ..record
                })
            })
            .await?;
        changed.ok_or_else(|| no_such(name))
    }

    /// Sets an operator's password; all its sign-ins end with the commit.
    pub async fn set_password(
        &self,
        origin: &Origin,
        name: &str,
        password: &str,
    ) -> AuthResult<()> {
        check_password(password, &self.limits)?;
        let hash = self.auth.passwords().hash(password.to_owned()).await?;
        let act = Act::new("operator.password", name.to_lowercase());
        self.change(origin, act, name, |record| {
            Some(OperatorRecord {
                password: hash.clone(),
                credential_version: record.credential_version + 1,
                ..record
            })
        })
        .await?;
        Ok(())
    }

    /// Whether `password` is the operator's; counted as a try to sign in.
    pub async fn prove_password(
        &self,
        origin: &Origin,
        name: &str,
        password: &str,
    ) -> AuthResult<()> {
        let record = self.get(name).await?;
        let scope = self.scope(&origin.request_id, None);
        let counted = [Counted::Name(record.name.clone())];
        let charged = self.auth.charge(&scope, &counted).await?;
        let fits = password.len() <= self.limits.password_bytes_max;
        let passwords = self.auth.passwords();
        if fits
            && passwords
                .check(password.to_owned(), Some(&record.password))
                .await?
        {
            self.auth.give_back(&scope, charged).await;
            return Ok(());
        }
        Err(AuthError::new(
            Reason::InvalidPassword,
            "the present password is wrong",
        ))
    }

    /// Removes an operator; all its sign-ins end with the commit.
    pub async fn remove(&self, origin: &Origin, name: &str) -> AuthResult<()> {
        let act = Act::new("operator.remove", name.to_lowercase());
        self.change(origin, act, name, |_| None).await.map(drop)
    }

    /// Changes an operator, or removes it where `change` leaves nothing of it.
    async fn change(
        &self,
        origin: &Origin,
        act: Act,
        name: &str,
        change: impl Fn(OperatorRecord) -> Option<OperatorRecord>,
    ) -> AuthResult<Option<OperatorRecord>> {
        let name = name.to_lowercase();
        for _ in 0..self.limits.rounds_max {
            let all = self.all().await?;
            let known = all
                .iter()
                .find(|known| known.record.name == name)
                .ok_or_else(|| no_such(&name))?;
            let mut after = change(known.record.clone());
            if let Some(after) = &mut after {
                after.updated_at_ms = self.clock.now_unix_ms();
            }
            let mut changes = Changes::default();
            changes.expect(OPERATORS, known)?;
            let stays_owner = after.as_ref().is_some_and(OperatorRecord::is_owner);
            if known.record.is_owner() && !stays_owner {
                let other = all
                    .iter()
                    .find(|other| other.record.name != name && other.record.is_owner())
                    .ok_or_else(last_owner)?;
                // Should that one go at the same moment, one of the two commits finds it changed.
                changes.expect(OPERATORS, other)?;
            }
            match &after {
                Some(after) => changes.put(OPERATORS, &name, after)?,
                None => changes.remove(OPERATORS, &name),
            }
            changes.tell(self.audit.entry(origin, &act)?);
            if self.store.commit(changes).await? {
                return Ok(after);
            }
        }
        busy()
    }
}

/// The sentence that refuses to remove the last owner begins so; commands know it by that.
pub const LAST_OWNER: &str = "this is the last owner";

fn last_owner() -> AuthError {
    AuthError::new(
        Reason::FailedPrecondition,
        format!("{LAST_OWNER}: make another operator an owner first"),
    )
}

fn no_such(name: &str) -> AuthError {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    AuthError::new(Reason::NotFound, format!("there is no operator `{shown}`"))
}

/// Roles in words, such as `developer@shop, viewer`.
pub fn shown(grants: &[Grant]) -> String {
    let grants: Vec<String> = grants.iter().map(Grant::to_string).collect();
    grants.join(", ")
}

/// Whether an operator may have this name.
pub fn check_name(name: &str, limits: &OperatorLimits) -> AuthResult<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| plain(byte) || matches!(byte, b'-' | b'_' | b'.');
    let bytes = name.as_bytes();
    let fits = (1..=limits.name_bytes_max).contains(&bytes.len());
    if fits && plain(bytes[0]) && bytes.iter().all(|byte| inner(*byte)) {
        return Ok(());
    }
    Err(AuthError::argument(format!(
        "the name of an operator has 1 to {} letters, digits, `-`, `_` and `.`, and begins with a letter or digit",
        limits.name_bytes_max
    )))
}

/// Whether an operator may have this password.
pub fn check_password(password: &str, limits: &OperatorLimits) -> AuthResult<()> {
    let characters = password.chars().count();
    if characters >= limits.password_chars_min && password.len() <= limits.password_bytes_max {
        return Ok(());
    }
    Err(AuthError::argument(format!(
        "the password of an operator has at least {} characters and at most {} bytes",
        limits.password_chars_min, limits.password_bytes_max
    )))
}

fn check_grants(
    grants: &[Grant],
    environments: &dyn KeyDirectory,
    limits: &OperatorLimits,
) -> AuthResult<()> {
    if grants.is_empty() || grants.len() > limits.grants_max {
        return Err(AuthError::argument(format!(
            "an operator has 1 to {} roles",
            limits.grants_max
        )));
    }
    for grant in grants {
        match &grant.env {
            Some(_) if grant.role == Role::Owner => {
                return Err(AuthError::argument(
                    "an owner is one for the whole cluster: leave the environment out, or make it a developer",
                ));
            }
            Some(env) if env.starts_with('_') || !environments.has_env(env) => {
                let shown: String = env.chars().filter(|c| !c.is_control()).take(64).collect();
                let message = format!("there is no environment `{shown}`");
                return Err(AuthError::new(Reason::NotFound, message));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_checked() {
        let limits = OperatorLimits::default();
        for good in ["a", "root", "jane.doe-2", "7up"] {
            assert!(check_name(good, &limits).is_ok(), "{good}");
        }
        for bad in ["", "Root", ".a", "-a", "a b", "a:b", "ü", &"a".repeat(33)] {
            assert!(check_name(bad, &limits).is_err(), "{bad}");
        }
        assert!(check_password("ten chars!", &limits).is_ok());
        for bad in ["", "nine char", &"x".repeat(257)] {
            assert!(check_password(bad, &limits).is_err());
        }
    }
}
