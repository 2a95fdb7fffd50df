//! What each role may do, generated from a table of its own: asked of the one question, and of the gate with every kind
//! of operation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, rawdoc};
use yunbase_docdb::op::{FindOp, IndexField, IndexSpec, Op, UpdateOp};

use super::access::{Access, Operator};
use super::gate::Gate;
use super::roles::{Action, Place, Role, permits};
use super::test_bed::{grant, node};
use crate::audit::read::AuditQuery;
use crate::auth::test_bed::{Bed, ENV, OTHER_ENV};
use crate::call::{Call, CallFuture, Caller, Execute, Failure, ReadLevel};
use crate::cluster::records::CLUSTER_ENV;
use crate::router::TransactionCall;
use crate::transactions::{Step, Transact};

/// Action, owner, developer, viewer: written down once more, so that a slip in the code's table is found.
const EXPECTED: &[(&str, bool, bool, bool)] = &[
    ("cluster.view", true, true, true),
    ("cluster.change", true, false, false),
    ("environment.change", true, false, false),
    ("key.view", true, true, false),
    ("key.change", true, false, false),
    ("operator.view", true, false, false),
    ("operator.change", true, false, false),
    ("cluster.audit", true, false, false),
    ("audit.view", true, true, true),
    ("schema.view", true, true, true),
    ("schema.change", true, true, false),
    ("rules.change", true, true, false),
    ("data.read", true, true, false),
    ("data.write", true, true, false),
    ("user.view", true, true, false),
    ("user.change", true, true, false),
    ("login.change", true, true, false),
];

fn expected(action: Action, role: Role) -> bool {
    let (_, owner, developer, viewer) = EXPECTED
        .iter()
        .find(|(name, ..)| *name == action.name())
        .unwrap_or_else(|| panic!("{} is not in the table", action.name()));
    match role {
        Role::Owner => *owner,
        Role::Developer => *developer,
        Role::Viewer => *viewer,
    }
}

fn access(role: Role, env: Option<&str>) -> Access {
    Access::Operator(Arc::new(Operator {
        name: "ann".into(),
        grants: vec![grant(role, env)],
        session: "s".into(),
    }))
}

#[test]
fn every_role_may_do_what_the_table_says_where_it_holds() {
    assert_eq!(EXPECTED.len(), Action::ALL.len());
    let mut asked = 0;
    for role in Role::ALL {
        for own in [None, Some(ENV)] {
            for action in Action::ALL {
                let may = expected(action, role);
                for (place, holds) in [
                    (Place::Cluster, own.is_none()),
                    (Place::Environment(ENV), true),
                    (Place::Environment(OTHER_ENV), own.is_none()),
                    (Place::Anywhere, true),
                ] {
                    let grants = [grant(role, own)];
                    let allowed = permits(&grants, action, place);
                    assert_eq!(
                        allowed,
                        may && holds,
                        "{role:?} {own:?} {action:?} {place:?}"
                    );
                    assert_eq!(access(role, own).allows(action, place), allowed);
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(asked, 3 * 2 * 17 * 4);
    for action in Action::ALL {
        assert!(
            !permits(&[], action, Place::Anywhere),
            "nobody without a role"
        );
    }
}

#[test]
fn several_roles_add_up_and_keys_open_what_they_are_for() {
    let grants = [grant(Role::Viewer, None), grant(Role::Developer, Some(ENV))];
    let may = |action, env| permits(&grants, action, Place::Environment(env));
    assert!(may(Action::DataWrite, ENV) && !may(Action::DataWrite, OTHER_ENV));
    assert!(may(Action::SchemaView, OTHER_ENV));

    let key = |env: Option<&str>| Access::Key {
        id: "k".into(),
        env: env.map(str::to_owned),
    };
    for action in Action::ALL {
        for place in [Place::Cluster, Place::Environment(ENV), Place::Anywhere] {
            assert!(key(None).allows(action, place));
            assert!(!Access::User.allows(action, place));
        }
        assert!(key(Some(ENV)).allows(action, Place::Environment(ENV)));
        for place in [
            Place::Cluster,
            Place::Environment(OTHER_ENV),
            Place::Anywhere,
        ] {
            assert!(
                !key(Some(ENV)).allows(action, place),
                "{action:?} {place:?}"
            );
        }
    }
}

#[test]
fn the_documented_table_is_the_one_in_force() {
    let source = include_str!("roles.rs");
    let rows: Vec<Vec<&str>> = source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|line| !line.starts_with("action |"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    // A row may stand for seeing and changing at once, and a line of the doc for two actions.
    let count = |column: usize| {
        rows.iter()
            .filter(|row| row.get(column).is_some_and(|cell| *cell == "yes"))
            .count()
    };
    let roles = |role| Action::ALL.iter().filter(|a| a.is_for(role)).count();
    // "see and change operators" is one row for two actions of owners.
    assert_eq!(count(2) + 1, roles(Role::Owner));
    assert_eq!(count(3), roles(Role::Developer));
    assert_eq!(count(4), roles(Role::Viewer));
}

fn every_kind_of_operation() -> Vec<(&'static str, Op)> {
    let collection = || "c".to_owned();
    let find = Op::Find {
        collection: collection(),
        find: FindOp::default(),
    };
    vec![
        (
            "schema.change",
            Op::CreateCollection {
                collection: collection(),
            },
        ),
        (
            "schema.change",
            Op::CreateIndex {
                collection: collection(),
                index: IndexSpec {
                    name: "a_1".into(),
                    fields: vec![IndexField {
                        path: "a".into(),
                        descending: false,
                    }],
                    unique: false,
                },
            },
        ),
        (
            "rules.change",
            Op::SetAccess {
                collection: collection(),
                access: rawdoc! { "mode": "READONLY" },
            },
        ),
        (
            "data.write",
            Op::Insert {
                collection: collection(),
                documents: vec![rawdoc! { "_id": "x", "a": 1 }],
            },
        ),
        (
            "data.write",
            Op::Update {
                collection: collection(),
                update: UpdateOp {
                    update: rawdoc! { "$set": { "a": 2 } },
                    multi: true,
                    ..UpdateOp::default()
                },
            },
        ),
        ("schema.view", Op::ListCollections),
        (
            "schema.view",
            Op::ListIndexes {
                collection: collection(),
            },
        ),
        (
            "schema.view",
            Op::GetAccess {
                collection: collection(),
            },
        ),
        (
            "schema.view",
            Op::Count {
                collection: collection(),
                filter: RawDocumentBuf::new(),
            },
        ),
        (
            "data.read",
            Op::Count {
                collection: collection(),
                filter: rawdoc! { "a": { "$gt": 1 } },
            },
        ),
        ("data.read", find.clone()),
        ("data.read", Op::Explain(Box::new(find))),
        (
            "data.read",
            Op::Aggregate {
                collection: collection(),
                pipeline: vec![],
                seed: 1,
            },
        ),
        (
            "data.write",
            Op::Remove {
                collection: collection(),
                filter: RawDocumentBuf::new(),
                multi: true,
            },
        ),
        (
            "schema.change",
            Op::DropIndex {
                collection: collection(),
                name: "a_1".into(),
            },
        ),
        (
            "schema.change",
            Op::DropCollection {
                collection: collection(),
            },
        ),
    ]
}

/// Transactions of any id, whose operations are carried out at once.
struct AtOnce(Arc<Bed>);

impl Transact for AtOnce {
    fn begin(&self, _env: &str, _caller: &Caller) -> Result<String, Failure> {
        Ok("t".to_owned())
    }

    fn step(&self, call: TransactionCall) -> CallFuture {
        let Step::Run(op) = call.step else {
            return Box::pin(std::future::ready(Ok(yunbase_docdb::op::OpReply::Done)));
        };
        self.0.execute(request(&call.env, op))
    }
}

/// What operators are behind the doors.
fn administrator_ann() -> Caller {
    Caller::Administrator {
        key_id: "operator:ann".into(),
    }
}

fn request(env: &str, op: Op) -> Call {
    Call {
        caller: administrator_ann(),
        env: env.to_owned(),
        op,
        session: None,
        read_level: ReadLevel::Linearizable,
        deadline: Instant::now() + Duration::from_secs(5),
        request_id: "r".into(),
    }
}

#[tokio::test]
async fn the_gate_holds_every_operation_to_the_role() {
    for role in Role::ALL {
        for (own, env) in [(None, ENV), (Some(ENV), ENV), (Some(OTHER_ENV), ENV)] {
            if role == Role::Owner && own.is_some() {
                continue;
            }
            let bed = Bed::new();
            let gate = |access| {
                let transactions = Arc::new(AtOnce(bed.clone()));
                Gate::new(bed.clone(), transactions, Some(node(&bed)), access, None)
            };
            let (under_test, administrator) = (
                gate(access(role, own)),
                gate(Access::Key {
                    id: "k".into(),
                    env: None,
                }),
            );
            let holds = own.is_none_or(|own| own == env);
            for (action, op) in every_kind_of_operation() {
                let action = Action::ALL
                    .into_iter()
                    .find(|known| known.name() == action)
                    .unwrap();
                let may = holds && expected(action, role);
                let in_transaction = under_test
                    .step(TransactionCall {
                        id: "t".into(),
                        step: Step::Run(Op::Explain(Box::new(Op::Find {
                            collection: "absent".into(),
                            find: FindOp::default(),
                        }))),
                        caller: administrator_ann(),
                        env: env.to_owned(),
                        deadline: Instant::now() + Duration::from_secs(5),
                        request_id: "r".into(),
                    })
                    .await;
                let denied = |outcome: &Result<_, Failure>| {
                    outcome
                        .as_ref()
                        .is_err_and(|failure: &Failure| failure.code == "PERMISSION_DENIED")
                };
                let may_read = holds && expected(Action::DataRead, role);
                assert_eq!(denied(&in_transaction), !may_read);
                let outcome = under_test.execute(request(env, op.clone())).await;
                if may {
                    outcome.unwrap_or_else(|failure| panic!("{role:?} {op:?}: {failure}"));
                } else {
                    assert!(denied(&outcome), "{role:?} {own:?} {op:?}: {outcome:?}");
                    // So that the next operations find what they need.
                    administrator.execute(request(env, op)).await.unwrap();
                }
            }
            let may_write = holds && expected(Action::DataWrite, role);
            assert_eq!(
                under_test.begin(env, &administrator_ann()).is_ok(),
                may_write
            );
        }
    }
}

#[tokio::test]
async fn the_gate_tells_the_log_of_the_environment_and_of_refusals_that_of_the_cluster() {
    let bed = Bed::new();
    let operators = node(&bed);
    let gate = |access| {
        let transactions = Arc::new(AtOnce(bed.clone()));
        let address = "192.0.2.8".parse().ok();
        Gate::new(
            bed.clone(),
            transactions,
            Some(operators.clone()),
            access,
            address,
        )
    };
    let (developer, viewer) = (
        gate(access(Role::Developer, None)),
        gate(access(Role::Viewer, None)),
    );
    for (_, op) in every_kind_of_operation() {
        developer.execute(request(ENV, op)).await.unwrap();
    }
    for _ in 0..2 {
        let again = Op::CreateCollection {
            collection: "twice".into(),
        };
        let _ = developer.execute(request(ENV, again)).await;
    }
    let drop_absent = || Op::DropCollection {
        collection: "absent".into(),
    };
    let failed = developer.execute(request(ENV, drop_absent())).await;
    assert!(failed.is_err());
    for _ in 0..3 {
        let refused = viewer.execute(request(ENV, drop_absent())).await;
        assert_eq!(refused.unwrap_err().code, "PERMISSION_DENIED");
    }
    let query = AuditQuery::default();
    let log = operators.audit().read(ENV, &query).await.unwrap();
    let told: Vec<String> = log
        .iter()
        .map(|entry| format!("{} {} {}", entry.action, entry.target, entry.outcome))
        .collect();
    assert_eq!(
        told,
        [
            "collection.create c ok",
            "index.create c/a_1 ok",
            "rules.set c ok",
            "data.update_many c ok",
            "data.remove_many c ok",
            "index.drop c/a_1 ok",
            "collection.drop c ok",
            "collection.create twice ok",
            "collection.drop absent DATABASE_COLLECTION_NOT_EXIST",
        ]
    );
    assert_eq!(log[4].detail, "1 documents");
    assert!(
        log.iter()
            .all(|entry| entry.by == "operator:ann" && entry.from == "192.0.2.8")
    );
    let of_cluster = operators.audit().read(CLUSTER_ENV, &query).await.unwrap();
    assert_eq!(of_cluster.len(), 1, "the same refusal once in a while");
    assert_eq!(
        (of_cluster[0].action.as_str(), of_cluster[0].target.as_str()),
        ("operator.refused", "schema.change")
    );

    // Nobody changes what the log says, by whatever caller.
    let attempts = |collection: &str| {
        let collection = || collection.to_owned();
        [
            Op::Update {
                collection: collection(),
                update: UpdateOp {
                    update: rawdoc! { "$set": { "by": "operator:somebody" } },
                    multi: true,
                    ..UpdateOp::default()
                },
            },
            Op::Remove {
                collection: collection(),
                filter: RawDocumentBuf::new(),
                multi: true,
            },
            Op::DropCollection {
                collection: collection(),
            },
        ]
    };
    let owner = gate(access(Role::Owner, None));
    for (env, collection) in [(ENV, "_sys.audit"), (CLUSTER_ENV, "audit")] {
        for op in attempts(collection) {
            assert!(owner.execute(request(env, op.clone())).await.is_err());
            let system = Call {
                caller: Caller::System,
                ..request(env, op)
            };
            let refused = bed.execute(system).await.unwrap_err();
            assert_eq!(refused.code, "DATABASE_PERMISSION_DENIED");
        }
    }
    let after = operators.audit().read(ENV, &query).await.unwrap();
    assert_eq!(after.len(), log.len() + 1 + 2, "{after:?}");
    assert_eq!(after[..log.len()], log[..]);
}

#[tokio::test]
async fn only_age_takes_entries_out() {
    let bed = Bed::new();
    let operators = node(&bed);
    let audit = operators.audit();
    let act = || crate::audit::record::Act::new("key.create", "k");
    let origin = super::test_bed::origin();
    audit.record(ENV, &origin, act(), "ok").await;
    assert_eq!(audit.remove_older(ENV, 30).await, Ok(0));
    bed.pass(crate::audit::limits::days_ms(30));
    audit.record(ENV, &origin, act(), "ok").await;
    bed.pass(1);
    assert_eq!(audit.remove_older(ENV, 30).await, Ok(1));
    assert_eq!(audit.remove_older(OTHER_ENV, 30).await, Ok(0), "no log yet");
    assert!(
        audit.remove_older(ENV, 0).await.is_err(),
        "nothing is that old"
    );
    let query = |by: &str, action: &str| AuditQuery {
        by: by.into(),
        action: action.into(),
        ..AuditQuery::default()
    };
    for (by, action, expected) in [
        ("", "", 1),
        ("key:test", "key", 1),
        ("test", "key.create", 1),
        ("operator:test", "", 0),
        ("other", "", 0),
        ("", "ke", 0),
        ("", "key.delete", 0),
    ] {
        let found = audit.read(ENV, &query(by, action)).await.unwrap();
        assert_eq!(found.len(), expected, "{by} {action}");
    }
}
