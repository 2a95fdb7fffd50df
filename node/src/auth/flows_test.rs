//! The ways in and out, each through two nodes that share nothing but documents.

use serde_json::json;

use super::records::{GRANTS, SESSIONS, SigningKeyRecord, THROTTLE, USERS};
use super::sign_in::NewUser;
use super::test_bed::{Bed, ENV, OTHER_ENV, PASSWORD, members};
use super::users::Identity;
use super::{Reason, web_login_action};
use crate::call::LoginType;

#[tokio::test]
async fn a_device_keeps_its_anonymous_user_until_that_has_a_name() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let device = Some("0f9d2a3c-aaaa-bbbb-cccc-000000000001");
    let first = a
        .sign_in_anonymously(&a.at(ENV), device, true)
        .await
        .unwrap();
    let again = b
        .sign_in_anonymously(&b.at(ENV), device, true)
        .await
        .unwrap();
    assert_eq!(first.sub, again.sub);
    let stranger = b.sign_in_anonymously(&b.at(ENV), None, true).await.unwrap();
    assert_ne!(first.sub, stranger.sub);
    let elsewhere = b
        .sign_in_anonymously(&b.at(OTHER_ENV), device, true)
        .await
        .unwrap();
    assert_ne!(first.sub, elsewhere.sub, "environments share nothing");

    let caller = b.end_user(&b.at(ENV), &first.access_token).await.unwrap();
    assert_eq!(
        (
            caller.login_type,
            caller.uid.as_str(),
            caller.openid.as_str()
        ),
        (LoginType::Anonymous, first.sub.as_str(), first.sub.as_str())
    );
    let new = NewUser {
        username: "somebody".into(),
        password: Some(PASSWORD.into()),
        ..NewUser::default()
    };
    let named = b
        .convert_anonymous(&b.at(ENV), &first.access_token, new)
        .await
        .unwrap();
    assert_eq!(named.sub, first.sub, "its documents stay its own");
    let later = a
        .sign_in_anonymously(&a.at(ENV), device, true)
        .await
        .unwrap();
    assert_ne!(
        later.sub, first.sub,
        "a device alone opens a named user no longer"
    );
    let signed_in = a
        .sign_in_with_password(&a.at(ENV), "SomeBody", PASSWORD, true)
        .await
        .unwrap();
    assert_eq!(signed_in.sub, first.sub, "case makes no difference");
}

#[tokio::test]
async fn two_nodes_cannot_give_one_name_twice() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    a.newcomer(ENV, "alice").await;
    let new = NewUser {
        username: "Alice".into(),
        password: Some(PASSWORD.into()),
        ..NewUser::default()
    };
    let refused = b.sign_up(&b.at(ENV), new, true).await.err().unwrap();
    assert_eq!(refused.reason, Reason::AlreadyExists);
    assert_eq!(bed.documents(ENV, USERS).len(), 1, "nothing is left over");
    b.newcomer(OTHER_ENV, "alice").await;
}

#[tokio::test]
async fn refresh_tokens_turn_over_and_a_repeated_request_gets_the_same_answer() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let first = a.newcomer(ENV, "alice").await;
    let second = b.refresh(&b.at(ENV), &first.refresh_token).await.unwrap();
    assert_ne!(first.refresh_token, second.refresh_token);
    bed.pass(5_000);
    let repeated = a.refresh(&a.at(ENV), &first.refresh_token).await.unwrap();
    assert_eq!(repeated.refresh_token, second.refresh_token);
    let third = a.refresh(&a.at(ENV), &second.refresh_token).await.unwrap();
    b.end_user(&b.at(ENV), &third.access_token).await.unwrap();

    bed.pass(bed.node().limits.refresh_token_ms + 1);
    let refused = a
        .refresh(&a.at(ENV), &third.refresh_token)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.reason, Reason::InvalidGrant);
    a.sweep(&a.at(ENV)).await.unwrap();
    assert!(bed.documents(ENV, SESSIONS).is_empty(), "swept");
    assert!(bed.documents(ENV, THROTTLE).is_empty(), "swept");
    assert!(bed.documents(ENV, GRANTS).is_empty());
}

#[tokio::test]
async fn a_revocation_holds_on_every_node_at_once() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let user = a.newcomer(ENV, "alice").await;
    let other = a
        .sign_in_with_password(&a.at(ENV), "alice", PASSWORD, true)
        .await
        .unwrap();
    b.revoke(&b.at(ENV), &user.access_token).await.unwrap();
    let refused = a
        .end_user(&a.at(ENV), &user.access_token)
        .await
        .unwrap_err();
    assert_eq!(refused.reason, Reason::Unauthenticated);
    assert!(a.refresh(&a.at(ENV), &user.refresh_token).await.is_err());
    a.end_user(&a.at(ENV), &other.access_token).await.unwrap();

    a.revoke(&a.at(ENV), &other.refresh_token).await.unwrap();
    assert!(b.end_user(&b.at(ENV), &other.access_token).await.is_err());
    a.revoke(&a.at(ENV), "nonsense").await.unwrap();
}

#[tokio::test]
async fn disabling_ends_all_sessions_and_enabling_lets_in_again() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let user = a.newcomer(ENV, "alice").await;
    b.set_disabled(&b.at(ENV), &user.sub, true).await.unwrap();
    assert!(a.end_user(&a.at(ENV), &user.access_token).await.is_err());
    assert!(a.refresh(&a.at(ENV), &user.refresh_token).await.is_err());
    let refused = a
        .sign_in_with_password(&a.at(ENV), "alice", PASSWORD, true)
        .await;
    assert_eq!(refused.err().unwrap().reason, Reason::UserBlocked);
    b.set_disabled(&b.at(ENV), &user.sub, false).await.unwrap();
    a.sign_in_with_password(&a.at(ENV), "alice", PASSWORD, true)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let here = a.newcomer(ENV, "alice").await;
    let there = b
        .sign_in_with_password(&b.at(ENV), "alice", PASSWORD, true)
        .await
        .unwrap();
    let caller = a.end_user(&a.at(ENV), &here.access_token).await.unwrap();
    a.set_password(
        &a.at(ENV),
        &here.sub,
        "another-horse-2",
        Some(&caller.session),
    )
    .await
    .unwrap();
    assert!(b.end_user(&b.at(ENV), &there.access_token).await.is_err());
    b.end_user(&b.at(ENV), &here.access_token).await.unwrap();
    b.refresh(&b.at(ENV), &here.refresh_token).await.unwrap();
    assert!(
        b.sign_in_with_password(&b.at(ENV), "alice", PASSWORD, true)
            .await
            .is_err()
    );
    b.sign_in_with_password(&b.at(ENV), "alice", "another-horse-2", true)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_sessions() {
    let bed = Bed::new();
    let mut node = bed.node();
    node.limits.sessions_per_user_max = 3;
    let first = node.newcomer(ENV, "alice").await;
    for _ in 0..4 {
        bed.pass(1000);
        node.sign_in_with_password(&node.at(ENV), "alice", PASSWORD, true)
            .await
            .unwrap();
    }
    assert_eq!(bed.documents(ENV, SESSIONS).len(), 3);
    assert!(
        node.end_user(&node.at(ENV), &first.access_token)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn signing_keys_are_succeeded_and_old_tokens_stay_good() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let day = 24 * 3_600_000;
    let user = a.newcomer(ENV, "alice").await;
    bed.pass(30 * day - 60_000);
    let late = b.refresh(&b.at(ENV), &user.refresh_token).await.unwrap();
    assert_eq!(a.published_keys(ENV).len(), 2, "published ahead of its use");
    assert_eq!(super::jws::claimed_kid(&late.access_token).unwrap(), "k1");
    bed.pass(10 * 60_000);
    let next = a.refresh(&a.at(ENV), &late.refresh_token).await.unwrap();
    assert_eq!(super::jws::claimed_kid(&next.access_token).unwrap(), "k2");
    b.end_user(&b.at(ENV), &late.access_token).await.unwrap();
    b.end_user(&b.at(ENV), &next.access_token).await.unwrap();
    bed.pass(30 * day);
    a.refresh(&a.at(ENV), &next.refresh_token).await.unwrap();
    let kids: Vec<String> = a
        .published_keys(ENV)
        .iter()
        .map(|key| key.kid.clone())
        .collect();
    assert_eq!(
        kids,
        ["k2", "k3"],
        "what no token is signed with any more is gone"
    );
    let private: Vec<SigningKeyRecord> = a
        .store
        .find(
            &a.at(ENV),
            super::records::KEYS,
            super::store::Search {
                limit: 10,
                ..Default::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(private.len(), 2);
}

#[tokio::test]
async fn js_sdk_1_signs_in_and_keeps_its_refresh_token() {
    let bed = Bed::new();
    let node = bed.node();
    let call = |action: &'static str, body: serde_json::Value| {
        let node = &node;
        async move { web_login_action(node, &node.at(ENV), action, &members(body), None).await }
    };
    let signed_in = call(
        "auth.signInAnonymously",
        json!({ "anonymous_uuid": "", "refresh_token": "" }),
    )
    .await
    .unwrap();
    let (uuid, refresh) = (
        signed_in["uuid"].clone(),
        signed_in["refresh_token"].clone(),
    );
    for _ in 0..2 {
        let fetched = call(
            "auth.fetchAccessTokenWithRefreshToken",
            json!({ "refresh_token": refresh }),
        )
        .await
        .unwrap();
        assert_eq!(fetched["access_token_expire"], 7_200_000);
        let token = fetched["access_token"].as_str().unwrap();
        let caller = node.end_user(&node.at(ENV), token).await.unwrap();
        assert_ne!(
            json!(caller.uid),
            uuid,
            "the uuid is a secret, the uid is not"
        );
        let info = web_login_action(
            &node,
            &node.at(ENV),
            "auth.getUserInfo",
            &members(json!({})),
            Some(&caller),
        )
        .await
        .unwrap();
        assert_eq!(info["data"]["loginType"], "ANONYMOUS");
    }
    let again = call("auth.signInAnonymously", json!({ "anonymous_uuid": uuid }))
        .await
        .unwrap();
    assert_eq!(again["uuid"], uuid);
    call("auth.logout", json!({ "refresh_token": refresh }))
        .await
        .unwrap();
    let refused = call(
        "auth.fetchAccessTokenWithRefreshToken",
        json!({ "refresh_token": refresh }),
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code, "INVALID_REFRESH_TOKEN");

    node.newcomer(ENV, "alice").await;
    let body = json!({ "loginType": "USERNAME", "username": "alice", "password": PASSWORD });
    call("auth.signIn", body).await.unwrap();
    let refused = call("auth.sendPhoneCode", json!({ "phoneNumber": "1" }))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "LOGIN_MANNER_UNREGISTED");
    assert_eq!(
        call("auth.nonsense", json!({})).await.unwrap_err().code,
        "INVALID_ACTION"
    );
    let refused = call("auth.getUserInfo", json!({})).await.unwrap_err();
    assert_eq!(refused.code, "INVALID_ACCESS_TOKEN");
}

#[tokio::test]
async fn administrators_find_users_by_every_id() {
    let bed = Bed::new();
    let node = bed.node();
    let alice = node.newcomer(ENV, "alice").await;
    node.newcomer(ENV, "robert").await;
    let scope = node.at(ENV);
    let info = node
        .user_info_for_admin(&scope, None, Some("USERNAME"), Some("alice"))
        .await
        .unwrap();
    assert_eq!(info["uuid"], alice.sub);
    assert!(info.to_string().find("argon2").is_none());
    assert!(
        node.user_info_for_admin(&scope, Some("nobody"), None, None)
            .await
            .is_err()
    );
    let (page, more) = node.list_users(&scope, "", 1).await.unwrap();
    assert!(more && page.len() == 1);
    let (rest, more) = node.list_users(&scope, &page[0].uid, 10).await.unwrap();
    assert!(!more && rest.len() == 1);
    assert_eq!(node.sessions(&scope, &alice.sub).await.unwrap().len(), 1);
    node.delete_user(&scope, &alice.sub).await.unwrap();
    let name = Identity::Name("alice".into());
    assert!(node.user_by(&scope, &name).await.unwrap().is_none());
    node.newcomer(ENV, "alice").await;
}
