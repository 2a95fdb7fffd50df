//! Passwords: argon2id, on the blocking pool, a bounded number at one time.
//!
//! A hash takes some 30 ms of one processor and 19 MiB, so strangers must not be able to ask for many at once.
//! Checking the password of a user that does not exist takes the same time as of one that does.

use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::error::{AuthError, AuthResult, Reason};
use super::limits::AuthLimits;
use super::random::{self, Random};

/// Hashes and checks passwords.
#[derive(Clone)]
pub(crate) struct Passwords {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    params: Params,
    random: Arc<dyn Random>,
    /// The hash of a password that nobody knows, checked where there is no user.
    nobody: Arc<tokio::sync::OnceCell<String>>,
}

impl Passwords {
    pub(super) fn new(limits: &AuthLimits, random: Arc<dyn Random>) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        let lanes = 1;
        Self {
            working: Arc::new(Semaphore::new(processors)),
            waiting: Arc::new(Semaphore::new(
                processors + limits.password_hashes_waiting_max,
            )),
            // The only way to fail is a limit that argon2 does not allow; its own defaults are as good.
            params: Params::new(limits.argon2_memory_kib, limits.argon2_passes, lanes, None)
                .unwrap_or_default(),
            random,
            nobody: Arc::default(),
        }
    }

    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: String) -> AuthResult<String> {
        let (argon2, salt) = (self.argon2(), random::bytes::<16>(&*self.random));
        self.work(move || {
            argon2
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|hash: PasswordHash| hash.to_string())
        })
        .await?
        .map_err(AuthError::internal)
    }

    /// Whether `password` is the one of `known`; takes as long for a user without a password, and is then false.
    pub(crate) async fn check(&self, password: String, known: Option<&str>) -> AuthResult<bool> {
        let nobody = self
            .nobody
            .get_or_try_init(|| self.hash(random::hex::<16>(&*self.random)))
            .await?;
        let (hash, exists) = (known.unwrap_or(nobody).to_owned(), known.is_some());
        let argon2 = self.argon2();
        let equal = self
            .work(move || {
                PasswordHash::new(&hash)
                    .map(|hash| argon2.verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?
            .map_err(AuthError::internal)?;
        Ok(equal && exists)
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> AuthResult<T> {
        let busy = |_| {
            AuthError::new(
                Reason::Unavailable,
                "the server checks as many passwords as it may: try again shortly",
            )
        };
        let waiting = self.waiting.clone().try_acquire_owned().map_err(busy)?;
        let working = self.working.clone().acquire_owned().await.map_err(|_| {
            AuthError::new(
                Reason::Unavailable,
                "the server is stopping: ask another node",
            )
        })?;
        // The permits go along, so that requests whose clients gave up still count until their work is done.
        tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop((waiting, working));
            outcome
        })
        .await
        .map_err(AuthError::internal)
    }
}

/// Whether a password may be set. The rule is the original's: 8 to 32 characters, letters and digits among them.
pub(super) fn check_new(password: &str, limits: &AuthLimits) -> AuthResult<()> {
    let letters = password.chars().any(char::is_alphabetic);
    let digits = password.chars().any(|c| c.is_ascii_digit());
    if limits.password_chars.contains(&password.chars().count()) && letters && digits {
        return Ok(());
    }
    Err(AuthError::argument(format!(
        "a password needs {} to {} characters, at least one letter and one digit",
        limits.password_chars.start(),
        limits.password_chars.end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::random::SystemRandom;

    fn passwords() -> Passwords {
        let limits = AuthLimits {
            argon2_memory_kib: 64,
            ..AuthLimits::default()
        };
        Passwords::new(&limits, Arc::new(SystemRandom))
    }

    #[tokio::test]
    async fn hashes_are_argon2id_salted_and_recognised() {
        let passwords = passwords();
        let hash = passwords.hash("correct horse 1".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{hash}");
        assert_ne!(
            hash,
            passwords.hash("correct horse 1".into()).await.unwrap()
        );
        let check = |text: &str, known: Option<&str>| {
            let (passwords, text, known) =
                (passwords.clone(), text.to_owned(), known.map(str::to_owned));
            async move { passwords.check(text, known.as_deref()).await.unwrap() }
        };
        assert!(check("correct horse 1", Some(&hash)).await);
        assert!(!check("correct horse 2", Some(&hash)).await);
        assert!(!check("correct horse 1", None).await);
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused() {
        let passwords = passwords();
        passwords.waiting.forget_permits(usize::MAX >> 3);
        let refused = passwords.hash("whatever 1".into()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Unavailable);
    }

    #[test]
    fn weak_passwords_are_refused() {
        let limits = AuthLimits::default();
        assert!(check_new("abcdefg1", &limits).is_ok());
        for weak in ["abcdefgh", "12345678", "abc1", &"a1".repeat(17)] {
            assert!(check_new(weak, &limits).is_err(), "{weak}");
        }
    }
}
