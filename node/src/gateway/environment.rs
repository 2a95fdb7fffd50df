//! Which environment a request acts on.
//!
//! What the request states comes first, then the one that its credentials are made for, then the one that its host
//! names, then the only one that there is. A key made for one environment gets the same answer for every other,
//! existing or not.

use axum::http::request::Parts;

use super::{GatewayState, codes, head};
use crate::call::{Failure, Retry};
use crate::cluster::records::CLUSTER_ENV;

/// What a request says about its environment apart from its credentials.
#[derive(Debug, Default)]
pub(super) struct Named {
    stated: Option<String>,
    by_host: Option<String>,
}

impl Named {
    /// Reads the head of a request whose body states `in_body`.
    pub(super) fn of(state: &GatewayState, parts: &Parts, in_body: Option<String>) -> Self {
        let in_query = || head::query_value(parts.uri.query(), "env").map(str::to_owned);
        // As in `demo.api.example.com`, but only where there is an environment of that name.
        let label = head::host(parts).split_once('.').map(|(label, _)| label);
        Self {
            stated: in_body.or_else(in_query),
            by_host: label
                .filter(|label| state.keys.has_env(label))
                .map(str::to_owned),
        }
    }

    /// The environment meant, with credentials that are made for `own` (`None` = for all, or they do not say).
    pub(super) fn settle(
        self,
        state: &GatewayState,
        own: Option<String>,
    ) -> Result<String, Failure> {
        let env = self
            .stated
            .or(own)
            .or(self.by_host)
            .or_else(|| state.keys.only_env());
        env.ok_or_else(|| {
            let message = "the request names no environment and there are several: pass `env` to init, or use a key that is made for one";
            Failure::new(codes::INVALID_ENV, message, Retry::Never)
        })
    }
}

/// Refuses an environment that a key made for `own` does not open, and one that is not there.
pub(super) fn check(state: &GatewayState, env: &str, own: Option<&str>) -> Result<(), Failure> {
    if own.is_some_and(|own| own != env) {
        let message = "the key does not open this environment: use a key that was made for it";
        return Err(Failure::new(
            codes::PERMISSION_DENIED,
            message,
            Retry::Never,
        ));
    }
    let is_name = env.len() <= state.limits.name_bytes_max && env != CLUSTER_ENV;
    if !is_name || !state.keys.has_env(env) {
        let message = "there is no environment of this name: check `env`";
        return Err(Failure::new(codes::INVALID_ENV, message, Retry::Never));
    }
    Ok(())
}
