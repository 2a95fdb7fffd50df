//! Who may do what with files, by mode and by rule, over a database without a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};

use super::*;
use crate::call::CallFuture;
use crate::rules::testing::{ENV, World, user};

/// The database as the node's own calls reach it.
struct Direct(World);

impl Execute for Direct {
    fn execute(&self, call: Call) -> CallFuture {
        assert_eq!(call.caller, Caller::System);
        let outcome = self.0.run(call.op);
        Box::pin(std::future::ready(outcome))
    }
}

fn over(world: World) -> StorageAccess {
    StorageAccess::new(Arc::new(Direct(world)), Duration::from_secs(5))
}

fn under(access: &Document) -> StorageAccess {
    over(World::with(FILES, access, &[]))
}

fn scope() -> Scope {
    Scope {
        env: ENV.to_owned(),
        request_id: "r".to_owned(),
    }
}

fn caller(openid: &str) -> Caller {
    Caller::User(Arc::new(user(openid)))
}

fn file(owner: Option<&str>) -> FileRecord {
    FileRecord {
        path: "a/b.png".to_owned(),
        size: 7,
        content_type: "image/png".to_owned(),
        etag: "e".to_owned(),
        version: "v".to_owned(),
        owner: owner.map(str::to_owned),
        metadata: BTreeMap::from([("album".to_owned(), "open".to_owned())]),
        modified_at_ms: 5,
        content: Default::default(),
    }
}

/// Which of read, create, update, delete `asker` may do with `record`; it is left out for create.
async fn may(access: &StorageAccess, asker: &Caller, record: &FileRecord) -> [bool; 4] {
    let path = FilePath::parse("a/b.png").unwrap();
    let mut allowed = [false; 4];
    for (at, action) in Action::ALL.into_iter().enumerate() {
        let record = (action != Action::Create).then_some(record);
        match access.check(&scope(), asker, action, &path, record).await {
            Ok(()) => allowed[at] = true,
            Err(StorageError::Denied(_)) => {}
            Err(other) => panic!("{action:?}: {other}"),
        }
    }
    allowed
}

#[tokio::test]
async fn without_rules_everyone_reads_and_the_owner_writes() {
    for access in [over(World::default()), under(&doc! {})] {
        assert!(access.is_public(&scope()).await.unwrap());
        assert!(access.get(&scope()).await.unwrap().is_empty());
        let mine = file(Some("me"));
        assert_eq!(may(&access, &caller("me"), &mine).await, [true; 4]);
        assert_eq!(
            may(&access, &caller("you"), &mine).await,
            [true, true, false, false]
        );
        // What an administrator stored is nobody's.
        assert_eq!(
            may(&access, &caller("me"), &file(None)).await,
            [true, true, false, false]
        );
    }
}

#[tokio::test]
async fn modes_decide() {
    for (mode, public, owner, other) in [
        ("READONLY", true, [true; 4], [true, true, false, false]),
        ("PRIVATE", false, [true; 4], [false, true, false, false]),
        (
            "ADMINWRITE",
            true,
            [true, false, false, false],
            [true, false, false, false],
        ),
        ("ADMINONLY", false, [false; 4], [false; 4]),
    ] {
        let access = under(&doc! { "mode": mode });
        let mine = file(Some("me"));
        assert_eq!(access.is_public(&scope()).await.unwrap(), public, "{mode}");
        assert_eq!(may(&access, &caller("me"), &mine).await, owner, "{mode}");
        assert_eq!(may(&access, &caller("you"), &mine).await, other, "{mode}");
        let administrator = Caller::Administrator { key_id: "k".into() };
        assert_eq!(
            may(&access, &administrator, &mine).await,
            [true; 4],
            "{mode}"
        );
    }
}

#[tokio::test]
async fn rules_of_their_own_see_the_file_as_resource() {
    let access = under(&doc! { "mode": "CUSTOM", "rule": {
        "read": "resource.openid == auth.openid || resource.metadata.album == 'open'",
        "create": "resource.path in ['a/b.png'] && resource.openid == auth.openid",
        "update": "resource.openid == auth.openid && request.data.path == resource.path",
        "delete": "resource.size > 100",
    } });
    assert!(!access.is_public(&scope()).await.unwrap());
    let mut mine = file(Some("me"));
    assert_eq!(
        may(&access, &caller("me"), &mine).await,
        [true, true, true, false]
    );
    mine.size = 101;
    mine.metadata.clear();
    assert_eq!(
        may(&access, &caller("you"), &mine).await,
        [false, true, false, true]
    );
}

#[tokio::test]
async fn rules_read_documents_of_the_environment() {
    let world = World::with(
        FILES,
        &doc! { "mode": "CUSTOM", "rule": { "read": "get(`database.staff.${auth.uid}`).level >= 2" } },
        &[],
    );
    world.add("staff", &doc! {}, &[doc! { "_id": "chief", "level": 3 }]);
    let access = over(world);
    let path = FilePath::parse("a/b.png").unwrap();
    let record = file(Some("me"));
    let read = |who: &'static str| {
        let (access, path, record) = (access.clone(), path.clone(), record.clone());
        async move {
            access
                .check(&scope(), &caller(who), Action::Read, &path, Some(&record))
                .await
        }
    };
    assert_eq!(read("chief").await, Ok(()));
    assert!(matches!(read("me").await, Err(StorageError::Denied(_))));
}

#[tokio::test]
async fn a_change_of_rules_is_in_force_at_once_and_nonsense_allows_nothing() {
    let access = under(&doc! { "mode": "PRIVATE" });
    let (you, mine) = (caller("you"), file(Some("me")));
    assert!(!may(&access, &you, &mine).await[0]);
    let open = RawDocumentBuf::try_from(&doc! { "mode": "READONLY" }).unwrap();
    access.set(&scope(), open).await.unwrap();
    assert!(may(&access, &you, &mine).await[0]);
    let later = RawDocumentBuf::try_from(&doc! { "mode": "LATER" }).unwrap();
    access.set(&scope(), later).await.unwrap();
    assert_eq!(may(&access, &you, &mine).await, [false; 4]);
    assert!(access.is_public(&scope()).await.is_err());
}

#[tokio::test]
async fn a_question_about_no_file_finds_none() {
    let access = under(&doc! { "mode": "READONLY" });
    let path = FilePath::parse("a/b.png").unwrap();
    for action in [Action::Read, Action::Update, Action::Delete] {
        let (scope, asker) = (scope(), caller("me"));
        let asked = access.check(&scope, &asker, action, &path, None).await;
        assert!(matches!(asked, Err(StorageError::NotFound(_))));
    }
}
