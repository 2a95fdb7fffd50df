//! The documents of login: system collections of each environment, and their records.
//!
//! Nothing that has to hold on every node lives anywhere else. Secrets that only have to be recognised are kept as
//! hashes; those that are needed themselves (signing keys, appid secrets) are in the clear, as secret keys are.

use serde::{Deserialize, Serialize};

use crate::call::LoginType;

/// Users: [`UserRecord`].
pub const USERS: &str = "_sys.users";
/// What a user signs in with: [`IdentityRecord`]. The `_id` is what must be unique.
pub const IDENTITIES: &str = "_sys.identities";
/// Sign-in sessions: [`SessionRecord`].
pub const SESSIONS: &str = "_sys.sessions";
/// Keys that sign access tokens: [`SigningKeyRecord`].
pub const KEYS: &str = "_sys.keys";
/// Public halves of custom login keys: [`TicketKeyRecord`].
pub const TICKET_KEYS: &str = "_sys.ticket_keys";
/// Counters of failed tries: [`ThrottleRecord`].
pub const THROTTLE: &str = "_sys.throttle";
/// Mini Programs: [`WechatRecord`].
pub const PROVIDERS: &str = "_sys.providers";
/// Identities that a provider has vouched for and that nobody has signed in with yet: [`GrantRecord`].
pub const GRANTS: &str = "_sys.grants";
/// One document, [`AuthSettings`].
pub const SETTINGS: &str = "_sys.settings";
/// `_id` of the login settings.
pub const SETTINGS_ID: &str = "auth";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserRecord {
    /// The user's id.
    #[serde(rename = "_id")]
    pub uid: String,
    /// The name to sign in with, as the user wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Hash of the password, a PHC string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Counts changes of the password and disabling: a session begun under an older number ends.
    #[serde(default)]
    pub credential_version: i64,
    /// Nobody has proved to be this user: only a device or an openid leads here.
    #[serde(default)]
    pub anonymous: bool,
    /// May not sign in.
    #[serde(default)]
    pub disabled: bool,
    /// How the user came to be, as [`LoginType::as_str`] spells it.
    pub created_from: String,
    /// The id that the developer's own server knows the user by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_id: Option<String>,
    /// The openid of a user who came from WeChat: the owner of its documents for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openid: Option<String>,
    /// The id across the Mini Programs of one owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// What the user says of itself.
    #[serde(default)]
    pub profile: Profile,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// Milliseconds since 1970.
    pub updated_at_ms: i64,
}

impl UserRecord {
    /// What `_openid` of the user's documents is.
    pub fn document_owner(&self) -> &str {
        self.openid.as_deref().unwrap_or(&self.uid)
    }
}

/// What a user says of itself; every member is shown to the user only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Shown name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// URL of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// `MALE`, `FEMALE` or a text of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// A date as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthdate: Option<String>,
    /// A language tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// A time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Country, as js-sdk 1 sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub province: Option<String>,
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
}

/// What a user signs in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// Kind and value, see `users::Identity`.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whose it is.
    pub uid: String,
    /// The provider that vouches for it (an appid), where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The user's id at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_user_id: Option<String>,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
}

/// A sign-in session: the family of refresh tokens that grew from one sign-in. Ending it is removing it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session's id, in every token.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whose it is.
    pub uid: String,
    /// How the user signed in, as [`LoginType::as_str`] spells it.
    pub login_type: String,
    /// `_openid` of documents that are written under it.
    pub openid: String,
    /// [`UserRecord::credential_version`] at its beginning.
    pub credential_version: i64,
    /// Whether each refresh gives out a new refresh token. js-sdk 1 keeps its first one.
    pub rotates: bool,
    /// Refresh tokens given out before the current one.
    pub generation: i64,
    /// Hash of the current refresh token's secret.
    #[serde(with = "serde_bytes")]
    pub refresh_hash: Vec<u8>,
    /// Makes each secret from the one before it, so that a repeated refresh gets the same answer.
    #[serde(with = "serde_bytes")]
    pub seed: Vec<u8>,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// When the current refresh token was given out.
    pub refreshed_at_ms: i64,
    /// When the session ends by itself unless it is refreshed.
    pub expires_at_ms: i64,
    /// When it ends in any case; a ticket may say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at_ms: Option<i64>,
    /// Hash of the proof that the user has just given the password.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub sudo_hash: Vec<u8>,
    /// Until when that proof holds.
    #[serde(default)]
    pub sudo_until_ms: i64,
}

/// A key that signs access tokens. Its public half also stands in the cluster map.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyRecord {
    /// The key's id, in the head of each token.
    #[serde(rename = "_id")]
    pub kid: String,
    /// Grows with each key.
    pub number: i64,
    /// PKCS#8.
    #[serde(with = "serde_bytes")]
    pub private_key: Vec<u8>,
    /// Uncompressed point on P-256.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// When it begins to sign.
    pub active_from_ms: i64,
}

/// The public half of a custom login key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKeyRecord {
    /// `private_key_id` of the key file.
    #[serde(rename = "_id")]
    pub id: String,
    /// SubjectPublicKeyInfo in PEM.
    pub public_key: String,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
}

/// Failed tries of one name, or from one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleRecord {
    /// Kind and bucket.
    #[serde(rename = "_id")]
    pub id: String,
    /// Tries that failed or are under way.
    pub failures: i64,
    /// When the last of them began.
    pub last_ms: i64,
    /// Grows with each change; two tries never take the same turn.
    pub version: i64,
}

/// A Mini Program.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WechatRecord {
    /// The appid.
    #[serde(rename = "_id")]
    pub appid: String,
    /// Its secret. Never leaves the cluster but to WeChat.
    pub secret: String,
    /// Where WeChat is reached, for example `https://api.weixin.qq.com`.
    pub base_url: String,
    /// Milliseconds since 1970.
    pub updated_at_ms: i64,
}

/// An identity that WeChat has vouched for, until somebody signs in with it or its time has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// Hash of the provider token.
    #[serde(rename = "_id")]
    pub id: String,
    /// The Mini Program.
    pub appid: String,
    /// The user's id in it.
    pub openid: String,
    /// The user's id across the owner's Mini Programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// Sign in by unionid.
    pub by_union: bool,
    /// Milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// What login of an environment shares and no record carries.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthSettings {
    /// [`SETTINGS_ID`].
    #[serde(rename = "_id")]
    pub id: String,
    /// Keys the hashes of names, addresses and devices, so that nobody outside can tell which share a counter.
    #[serde(with = "serde_bytes")]
    pub secret: Vec<u8>,
}

/// Reads [`LoginType::as_str`] back.
pub fn login_type_of(text: &str) -> LoginType {
    match text {
        "USERNAME" => LoginType::Username,
        "EMAIL" => LoginType::Email,
        "PHONE" => LoginType::Phone,
        "CUSTOM" => LoginType::Custom,
        "WECHAT" => LoginType::Wechat,
        // The least of all: what cannot be read must not give more.
        _ => LoginType::Anonymous,
    }
}
