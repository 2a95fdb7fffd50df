//! `auth.getUserInfoForAdmin`: what an administrator may know of an end user.

use std::time::Instant;

use super::CallContext;
use crate::auth::Auth;
use crate::call::Failure;
use crate::gateway::envelope::Answer;
use crate::gateway::params::Params;

/// The action's name.
pub(in crate::gateway) const ACTION: &str = "auth.getUserInfoForAdmin";

/// Answers with the user that `uuid`, or `platform` and `platformId`, name.
pub(in crate::gateway) async fn user_info(
    auth: &Auth,
    params: &Params<'_>,
    context: &CallContext<'_>,
) -> Result<Answer, Failure> {
    let timeout = context.deadline.saturating_duration_since(Instant::now());
    let scope = auth.scope(&context.env, context.request_id, timeout, None)?;
    let (uuid, platform) = (params.text("uuid")?, params.text("platform")?);
    let platform_id = params.text("platformId")?;
    let user = auth
        .user_info_for_admin(
            &scope,
            uuid.as_deref(),
            platform.as_deref(),
            platform_id.as_deref(),
        )
        .await?;
    Ok(Answer::of(user.to_string()))
}
