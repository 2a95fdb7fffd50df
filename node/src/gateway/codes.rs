//! Error codes of the protocol that arise in the gateway itself, spelt as the clients know them.

pub(crate) const ACTION_FORBIDDEN: &str = "ACTION_FORBIDDEN";
pub(crate) const CHECK_LOGIN_FAILED: &str = "CHECK_LOGIN_FAILED";
pub(crate) const DATABASE_REQUEST_FAILED: &str = "DATABASE_REQUEST_FAILED";
pub(crate) const DATABASE_DUPLICATE_WRITE: &str = "DATABASE_DUPLICATE_WRITE";
pub(crate) const DOCUMENT_NOT_FOUND: &str = "DOCUMENT_NOT_FOUND";
pub(crate) const EXCEED_CONCURRENT_REQUEST_LIMIT: &str = "EXCEED_CONCURRENT_REQUEST_LIMIT";
pub(crate) const EXCEED_REQUEST_SIZE_LIMIT: &str = "EXCEED_REQUEST_SIZE_LIMIT";
pub(crate) const INVALID_ACCESS_TOKEN: &str = "INVALID_ACCESS_TOKEN";
pub(crate) const INVALID_ACTION: &str = "INVALID_ACTION";
pub(crate) const INVALID_CREDENTIALS: &str = "INVALID_CREDENTIALS";
pub(crate) const INVALID_ENV: &str = "INVALID_ENV";
pub(crate) const INVALID_PARAM: &str = "INVALID_PARAM";
pub(crate) const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";
pub(crate) const MISSING_CREDENTIALS: &str = "MISSING_CREDENTIALS";
pub(crate) const PATH_NOT_FOUND: &str = "PATH_NOT_FOUND";
pub(crate) const PERMISSION_DENIED: &str = "PERMISSION_DENIED";
pub(crate) const RESOURCE_NOT_INITIAL: &str = "RESOURCE_NOT_INITIAL";
pub(crate) const SERVER_TIMEOUT: &str = "SERVER_TIMEOUT";
pub(crate) const SIGN_PARAM_INVALID: &str = "SIGN_PARAM_INVALID";
pub(crate) const SYS_ERR: &str = "SYS_ERR";
