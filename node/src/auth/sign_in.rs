//! The ways in: anonymously, with a user name and password, with WeChat.
//!
//! None of them tells a stranger whether a user exists or which half of the proof was wrong, by words or by time.

use std::net::IpAddr;

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::passwords;
use super::records::{Profile, UserRecord};
use super::sessions::{Credentials, SignIn, blocked};
use super::store::Scope;
use super::throttle::Counted;
use super::users::{Identity, check_username};
use crate::call::LoginType;

/// Longer names and passwords are wrong without a look.
const INPUT_BYTES_MAX: usize = 256;
/// A device id this short could be guessed.
const DEVICE_ID_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// What a new user with a name brings.
#[derive(Debug, Default)]
pub struct NewUser {
    /// The name to sign in with.
    pub username: String,
    /// The password; `None` only through an administrator or a provider.
    pub password: Option<String>,
    /// What the user says of itself.
    pub profile: Profile,
}

impl Auth {
    /// Signs in without any proof. The same device gets the same user, until that user has proved to be somebody.
    pub async fn sign_in_anonymously(
        &self,
        scope: &Scope,
        device_id: Option<&str>,
        rotates: bool,
    ) -> AuthResult<Credentials> {
        let secret = self.secret(scope).await?;
        let device = device_id.filter(|id| DEVICE_ID_BYTES.contains(&id.len()));
        // Without a usable id the user cannot come back, which is what such a device asks for.
        let device = device.map_or_else(|| self.new_device_id(), str::to_owned);
        let identity = Identity::device(&secret, &device);
        let user = self.anonymous_user(scope, &identity, None).await?;
        let sign_in = SignIn {
            rotates,
            ..SignIn::by(LoginType::Anonymous)
        };
        self.begin_session(scope, &user, sign_in).await
    }

    /// The same for a WeChat user who wants to stay anonymous.
    pub(super) async fn sign_in_anonymously_with_grant(
        &self,
        scope: &Scope,
        provider_token: &str,
    ) -> AuthResult<Credentials> {
        let grant = self.take_grant(scope, provider_token).await?;
        let identity = Identity::AnonymousOpenid {
            appid: grant.appid,
            openid: grant.openid.clone(),
        };
        let user = self
            .anonymous_user(scope, &identity, Some(&grant.openid))
            .await?;
        self.begin_session(scope, &user, SignIn::by(LoginType::Anonymous))
            .await
    }

    async fn anonymous_user(
        &self,
        scope: &Scope,
        identity: &Identity,
        openid: Option<&str>,
    ) -> AuthResult<UserRecord> {
        if let Some(known) = self.user_by(scope, identity).await? {
            return Ok(known);
        }
        self.charge_creation(scope).await?;
        self.user_by_or_new(scope, identity, || UserRecord {
            openid: openid.map(str::to_owned),
            ..self.new_user(scope, LoginType::Anonymous)
        })
        .await
    }

    /// Signs in with a user name and password.
    pub async fn sign_in_with_password(
        &self,
        scope: &Scope,
        username: &str,
        password: &str,
        rotates: bool,
    ) -> AuthResult<Credentials> {
        let wrong = || {
            AuthError::new(
                Reason::InvalidUsernameOrPassword,
                "the user does not exist or the password is wrong",
            )
        };
        if username.len() > INPUT_BYTES_MAX || password.len() > INPUT_BYTES_MAX {
            return Err(wrong());
        }
        let mut counted = vec![Counted::Name(username.to_owned())];
        counted.extend(from_outside(scope).map(Counted::Address));
        let charged = self.charge(scope, &counted).await?;
        let identity = Identity::Name(username.to_owned());
        let user = match self.user_by(scope, &identity).await? {
            Some(user) => Some(user),
            // The second read of an existing user takes time too.
            None => self.user(scope, "nobody").await?,
        };
        let known = user.as_ref().and_then(|user| user.password.as_deref());
        let proved = self.passwords.check(password.to_owned(), known).await?;
        let user = user.filter(|_| proved).ok_or_else(wrong)?;
        if user.disabled {
            return Err(blocked());
        }
        self.give_back(scope, charged).await;
        let sign_in = SignIn {
            rotates,
            ..SignIn::by(LoginType::Username)
        };
        self.begin_session(scope, &user, sign_in).await
    }

    /// Whether `password` is `user`'s, for steps that ask for it again; throttled as a sign-in is.
    pub(super) async fn prove_password(
        &self,
        scope: &Scope,
        user: &UserRecord,
        password: &str,
    ) -> AuthResult<()> {
        let Some(known) = user.password.as_deref() else {
            return Err(AuthError::new(
                Reason::PasswordNotSet,
                "the user has no password: set one first",
            ));
        };
        let name = user.username.as_deref().unwrap_or(&user.uid);
        let charged = self
            .charge(scope, &[Counted::Name(name.to_owned())])
            .await?;
        let fits = password.len() <= INPUT_BYTES_MAX;
        if fits
            && self
                .passwords
                .check(password.to_owned(), Some(known))
                .await?
        {
            self.give_back(scope, charged).await;
            return Ok(());
        }
        Err(AuthError::new(
            Reason::InvalidPassword,
            "the password is wrong",
        ))
    }

    /// Makes a user with a name and a password and signs it in.
    pub async fn sign_up(
        &self,
        scope: &Scope,
        new: NewUser,
        rotates: bool,
    ) -> AuthResult<Credentials> {
        if new.password.is_none() {
            return Err(AuthError::argument(
                "signing up needs `username` and `password`",
            ));
        }
        check_username(&new.username, &self.limits)?;
        self.charge_creation(scope).await?;
        let user = self.create_user(scope, new).await?;
        let sign_in = SignIn {
            rotates,
            ..SignIn::by(LoginType::Username)
        };
        self.begin_session(scope, &user, sign_in).await
    }

    /// Makes a user with a name.
    pub async fn create_user(&self, scope: &Scope, new: NewUser) -> AuthResult<UserRecord> {
        check_username(&new.username, &self.limits)?;
        let password = match new.password {
            Some(password) => {
                passwords::check_new(&password, &self.limits)?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let user = UserRecord {
            username: Some(new.username.clone()),
            password,
            ..self.new_user(scope, LoginType::Username)
        };
        let identity = Identity::Name(new.username);
        let user = self
            .add_user(scope, &user, &identity)
            .await?
            .ok_or_else(|| {
                AuthError::new(
                    Reason::AlreadyExists,
                    "another user has this name: choose another",
                )
            })?;
        if new.profile == Profile::default() {
            return Ok(user);
        }
        self.edit_profile(scope, &user.uid, &new.profile).await
    }

    /// Turns an anonymous user into one with a name and a password; documents and sessions stay its own.
    pub(super) async fn convert_anonymous(
        &self,
        scope: &Scope,
        access_token: &str,
        new: NewUser,
    ) -> AuthResult<Credentials> {
        let password = new.password.as_deref().unwrap_or_default();
        passwords::check_new(password, &self.limits)?;
        let caller = self.end_user(scope, access_token).await?;
        let user = self.require_user(scope, &caller.uid).await?;
        if !user.anonymous {
            return Err(AuthError::new(
                Reason::FailedPrecondition,
                "the user of `anonymous_token` is not anonymous any more: sign in",
            ));
        }
        self.rename_user(scope, &user, &new.username).await?;
        self.set_password(scope, &user.uid, password, None).await?;
        let user = self.edit_profile(scope, &user.uid, &new.profile).await?;
        self.begin_session(scope, &user, SignIn::by(LoginType::Username))
            .await
    }

    /// Signs in the WeChat user whom a provider token stands for; the first time makes the user.
    pub(super) async fn sign_in_with_grant(
        &self,
        scope: &Scope,
        provider_token: &str,
    ) -> AuthResult<Credentials> {
        let grant = self.take_grant(scope, provider_token).await?;
        self.sign_in_with_wechat(
            scope,
            grant.appid,
            grant.openid,
            grant.unionid,
            grant.by_union,
            true,
        )
        .await
    }

    /// Signs in a WeChat user.
    pub(super) async fn sign_in_with_wechat(
        &self,
        scope: &Scope,
        appid: String,
        openid: String,
        unionid: Option<String>,
        by_union: bool,
        rotates: bool,
    ) -> AuthResult<Credentials> {
        let own = Identity::Openid {
            appid: appid.clone(),
            openid: openid.clone(),
        };
        let union = unionid.clone().map(|unionid| Identity::Unionid {
            appid: appid.clone(),
            unionid,
        });
        let (first, second) = match (by_union, union) {
            (true, Some(union)) => (union, Some(own)),
            (_, union) => (own, union),
        };
        let known = match self.user_by(scope, &first).await? {
            Some(user) => Some(user),
            None => match &second {
                Some(second) => self.user_by(scope, second).await?,
                None => None,
            },
        };
        let user = match known {
            Some(user) => user,
            None => {
                self.user_by_or_new(scope, &first, || UserRecord {
                    openid: Some(openid.clone()),
                    unionid: unionid.clone(),
                    ..self.new_user(scope, LoginType::Wechat)
                })
                .await?
            }
        };
        // Whichever id came second leads to the same user from now on, unless it is somebody else's already.
        self.claim(scope, &first, &user.uid).await?;
        if let Some(second) = &second {
            self.claim(scope, second, &user.uid).await?;
        }
        let sign_in = SignIn {
            rotates,
            ..SignIn::by(LoginType::Wechat)
        };
        self.begin_session(scope, &user, sign_in).await
    }

    async fn charge_creation(&self, scope: &Scope) -> AuthResult<()> {
        match from_outside(scope) {
            // Never given back: the user stays.
            Some(address) => self
                .charge(scope, &[Counted::Creation(address)])
                .await
                .map(drop),
            None => Ok(()),
        }
    }
}

fn from_outside(scope: &Scope) -> Option<IpAddr> {
    Some(scope.address).filter(|address| !address.is_unspecified())
}
