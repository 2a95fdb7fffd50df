//! Every operation by every identity under every mode, against a model that knows nothing of filters.

use std::collections::BTreeMap;

use bson::{Document, doc};
use yunbase_docdb::op::{Op, OpReply};

use super::refusal::DENIED;
use super::testing::{
    World, count, find, found, insert, remove, set, update, update_all, upsert, user,
};
use super::{Action, Rules};
use crate::call::{EndUser, Failure, LoginType};

const C: &str = "things";

/// A document as the model sees it.
#[derive(Debug, Clone, PartialEq)]
struct Thing {
    owner: Option<&'static str>,
    published: bool,
    /// How often an update has touched it.
    touched: i32,
}

type Things = BTreeMap<&'static str, Thing>;

fn things() -> Things {
    let thing = |owner, published| Thing {
        owner,
        published,
        touched: 0,
    };
    BTreeMap::from([
        ("a1", thing(Some("alice"), true)),
        ("a2", thing(Some("alice"), false)),
        ("b1", thing(Some("bob"), true)),
        ("b2", thing(Some("bob"), false)),
        ("n1", thing(None, true)),
        ("n2", thing(None, false)),
    ])
}

fn document(id: &str, thing: &Thing) -> Document {
    let mut document = doc! { "_id": id, "published": thing.published, "touched": thing.touched };
    if let Some(owner) = thing.owner {
        document.insert("_openid", owner);
    }
    document
}

/// The documents without regard to the order of their fields.
fn sorted(documents: Vec<Document>) -> Vec<BTreeMap<String, bson::Bson>> {
    documents
        .into_iter()
        .map(|document| document.into_iter().collect())
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    ReadOnly,
    Private,
    AdminWrite,
    AdminOnly,
    /// `{read: true, write: true}`
    Open,
    /// Everything `doc._openid == auth.openid`.
    Own,
    /// Published or own documents are read, all but the anonymous create, owners update, nobody deletes.
    Published,
}

const MODES: [Mode; 7] = [
    Mode::ReadOnly,
    Mode::Private,
    Mode::AdminWrite,
    Mode::AdminOnly,
    Mode::Open,
    Mode::Own,
    Mode::Published,
];

impl Mode {
    fn access(self) -> Document {
        let own = "doc._openid == auth.openid";
        match self {
            Self::ReadOnly => doc! { "mode": "READONLY" },
            Self::Private => doc! {},
            Self::AdminWrite => doc! { "mode": "ADMINWRITE" },
            Self::AdminOnly => doc! { "mode": "ADMINONLY" },
            Self::Open => doc! { "mode": "CUSTOM", "rule": { "read": true, "write": true } },
            Self::Own => doc! { "mode": "CUSTOM", "rule": { "read": own, "write": own } },
            Self::Published => doc! { "mode": "CUSTOM", "rule": {
                "read": "doc.published == true || doc._openid == auth.openid",
                "create": "auth.loginType != 'ANONYMOUS'",
                "update": own,
                "delete": false,
            } },
        }
    }

    fn is_custom(self) -> bool {
        matches!(self, Self::Open | Self::Own | Self::Published)
    }

    /// Whether anybody at all may do it.
    fn is_open(self, action: Action) -> bool {
        match self {
            Self::AdminWrite => action == Action::Read,
            Self::AdminOnly => false,
            Self::Published => action != Action::Delete,
            _ => true,
        }
    }

    fn allows(self, action: Action, who: &Who, thing: &Thing) -> bool {
        let owns = thing.owner == Some(who.name);
        match (self, action) {
            (_, _) if who.is_admin => true,
            (_, action) if !self.is_open(action) => false,
            (Self::Published, Action::Create) => !who.is_anonymous,
            (Self::Open, _) | (_, Action::Create) => true,
            (Self::ReadOnly | Self::AdminWrite, Action::Read) => true,
            (Self::Published, Action::Read) => owns || thing.published,
            _ => owns,
        }
    }

    /// Whether a query that names no document is enough of a condition.
    fn takes(self, action: Action, which: Which) -> bool {
        match (self, action, which) {
            (Self::Published, Action::Read, Which::Published) => true,
            (Self::Own | Self::Published, _, Which::All | Which::Published) => false,
            _ => true,
        }
    }
}

struct Who {
    name: &'static str,
    is_admin: bool,
    is_anonymous: bool,
}

const WHO: [Who; 5] = [
    Who {
        name: "alice",
        is_admin: false,
        is_anonymous: false,
    },
    Who {
        name: "bob",
        is_admin: false,
        is_anonymous: false,
    },
    Who {
        name: "carol",
        is_admin: false,
        is_anonymous: false,
    },
    Who {
        name: "dave",
        is_admin: false,
        is_anonymous: true,
    },
    Who {
        name: "root",
        is_admin: true,
        is_anonymous: false,
    },
];

impl Who {
    fn user(&self) -> EndUser {
        let login_type = if self.is_anonymous {
            LoginType::Anonymous
        } else {
            LoginType::Username
        };
        EndUser {
            login_type,
            ..user(self.name)
        }
    }

    fn run(&self, world: &World, op: Op) -> Result<OpReply, Failure> {
        if self.is_admin {
            world.run(op)
        } else {
            world.run_as(&self.user(), op)
        }
    }
}

/// Which documents a query asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Which {
    Id(&'static str),
    All,
    Own,
    Published,
}

const WHICH: [Which; 10] = [
    Which::Id("a1"),
    Which::Id("a2"),
    Which::Id("b1"),
    Which::Id("b2"),
    Which::Id("n1"),
    Which::Id("n2"),
    Which::Id("z"),
    Which::All,
    Which::Own,
    Which::Published,
];

impl Which {
    fn filter(self) -> Document {
        match self {
            Self::Id(id) => doc! { "_id": id },
            Self::All => doc! {},
            Self::Own => doc! { "_openid": "{openid}" },
            Self::Published => doc! { "published": true },
        }
    }

    fn matches(self, who: &Who, id: &str, thing: &Thing) -> bool {
        match self {
            Self::Id(wanted) => wanted == id,
            Self::All => true,
            // For an administrator the placeholder is a text like any other.
            Self::Own => !who.is_admin && thing.owner == Some(who.name),
            Self::Published => thing.published,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Find(Which),
    Count(Which),
    /// All matches.
    Update(Which),
    UpdateOne(Which),
    /// A whole document, created when missing.
    Set(&'static str),
    /// By operators, created when missing.
    Upsert(&'static str),
    Remove(Which),
    Insert,
    InsertAs(&'static str),
}

fn everything() -> Vec<What> {
    let mut all = vec![What::Insert, What::InsertAs("alice"), What::InsertAs("eve")];
    for which in WHICH {
        all.extend([
            What::Find(which),
            What::Count(which),
            What::Update(which),
            What::Remove(which),
        ]);
        if let Which::Id(id) = which {
            all.extend([What::UpdateOne(which), What::Set(id), What::Upsert(id)]);
        }
    }
    all
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Denied,
    Found(Vec<String>),
    Number(u64),
    Done,
}

fn operation(what: What) -> Op {
    let touch = doc! { "$inc": { "touched": 1 } };
    let whole = doc! { "published": true, "touched": 9 };
    match what {
        What::Find(which) => find(C, which.filter()),
        What::Count(which) => count(C, which.filter()),
        What::Update(which) => update_all(C, which.filter(), touch),
        What::UpdateOne(which) => update(C, which.filter(), touch),
        What::Set(id) => set(C, doc! { "_id": id }, whole),
        What::Upsert(id) => upsert(
            C,
            doc! { "_id": id },
            doc! { "$inc": { "touched": 1 }, "$setOnInsert": { "published": false } },
        ),
        What::Remove(which) => remove(C, which.filter(), true),
        What::Insert => insert(C, &[doc! { "_id": "z", "published": false, "touched": 0 }]),
        What::InsertAs(owner) => insert(
            C,
            &[doc! { "_id": "z", "published": false, "touched": 0, "_openid": owner }],
        ),
    }
}

fn outcome(result: Result<OpReply, Failure>) -> Outcome {
    match result {
        Ok(reply @ OpReply::Found { .. }) => Outcome::Found(
            found(reply)
                .iter()
                .map(|document| document.get_str("_id").expect("an id").to_owned())
                .collect(),
        ),
        Ok(OpReply::Counted { count }) => Outcome::Number(count),
        Ok(OpReply::Updated {
            matched,
            upserted_id: None,
            ..
        }) => Outcome::Number(matched),
        Ok(OpReply::Updated { .. } | OpReply::Inserted { .. }) => Outcome::Done,
        Ok(OpReply::Removed { removed }) => Outcome::Number(removed),
        Err(failure) if failure.code == DENIED => Outcome::Denied,
        other => panic!("{other:?}"),
    }
}

/// The ids that an action reaches; `None`: refused.
fn reached(
    mode: Mode,
    who: &Who,
    action: Action,
    which: Which,
    things: &Things,
) -> Option<Vec<&'static str>> {
    let matching: Vec<_> = things
        .iter()
        .filter(|(id, thing)| which.matches(who, id, thing))
        .collect();
    if !who.is_admin {
        if !mode.is_open(action) {
            return None;
        }
        let names_one = matches!(which, Which::Id(_));
        if names_one && mode.is_custom() {
            // A document that is named and not allowed is a refusal.
            if matching
                .iter()
                .any(|(_, thing)| !mode.allows(action, who, thing))
            {
                return None;
            }
        } else if !mode.takes(action, which) {
            return None;
        }
    }
    Some(
        matching
            .into_iter()
            .filter(|(_, thing)| mode.allows(action, who, thing))
            .map(|(id, _)| *id)
            .collect(),
    )
}

fn owner_of(who: &Who) -> Option<&'static str> {
    (!who.is_admin).then_some(who.name)
}

fn model(mode: Mode, who: &Who, what: What, things: &mut Things) -> Outcome {
    match what {
        What::Find(which) => match reached(mode, who, Action::Read, which, things) {
            Some(ids) => Outcome::Found(ids.into_iter().map(str::to_owned).collect()),
            None => Outcome::Denied,
        },
        What::Count(which) => match reached(mode, who, Action::Read, which, things) {
            Some(ids) => Outcome::Number(ids.len() as u64),
            None => Outcome::Denied,
        },
        What::Update(which) | What::UpdateOne(which) => {
            let Some(ids) = reached(mode, who, Action::Update, which, things) else {
                return Outcome::Denied;
            };
            for id in &ids {
                things.get_mut(id).expect("a thing").touched += 1;
            }
            Outcome::Number(ids.len() as u64)
        }
        What::Remove(which) => {
            let Some(ids) = reached(mode, who, Action::Delete, which, things) else {
                return Outcome::Denied;
            };
            for id in &ids {
                things.remove(id);
            }
            Outcome::Number(ids.len() as u64)
        }
        What::Set(id) | What::Upsert(id) => {
            let is_set = matches!(what, What::Set(_));
            if let Some(thing) = things.get_mut(id) {
                if !mode.allows(Action::Update, who, thing) {
                    return Outcome::Denied;
                }
                if is_set {
                    thing.published = true;
                    thing.touched = 9;
                    if who.is_admin {
                        // An administrator's replacement is the whole document.
                        thing.owner = None;
                    }
                } else {
                    thing.touched += 1;
                }
                return Outcome::Number(1);
            }
            let new = Thing {
                owner: owner_of(who),
                published: is_set,
                touched: if is_set { 9 } else { 1 },
            };
            if !mode.allows(Action::Create, who, &new) {
                return Outcome::Denied;
            }
            things.insert(id, new);
            Outcome::Done
        }
        What::Insert | What::InsertAs(_) => {
            let owner = match what {
                What::InsertAs(owner) if who.is_admin => Some(owner),
                What::InsertAs(owner) if owner != who.name => return Outcome::Denied,
                _ => owner_of(who),
            };
            let new = Thing {
                owner,
                published: false,
                touched: 0,
            };
            if !mode.allows(Action::Create, who, &new) {
                return Outcome::Denied;
            }
            things.insert("z", new);
            Outcome::Done
        }
    }
}

#[test]
fn every_row_of_the_table_is_as_the_model_says() {
    let (mut rows, mut denied) = (0, 0);
    for mode in MODES {
        Rules::parse(&super::testing::raw(&mode.access())).expect("rules");
        for who in &WHO {
            for what in everything() {
                let mut things = things();
                let documents: Vec<_> = things
                    .iter()
                    .map(|(id, thing)| document(id, thing))
                    .collect();
                let world = World::with(C, &mode.access(), &documents);
                let expected = model(mode, who, what, &mut things);
                let got = outcome(who.run(&world, operation(what)));
                let row = format!("{mode:?}, {}, {what:?}", who.name);
                assert_eq!(got, expected, "{row}");
                let after: Vec<_> = things
                    .iter()
                    .map(|(id, thing)| document(id, thing))
                    .collect();
                assert_eq!(sorted(world.all(C)), sorted(after), "{row}: documents");
                rows += 1;
                denied += usize::from(got == Outcome::Denied);
            }
        }
    }
    assert!(rows > 2000, "{rows} rows");
    assert!(
        denied > rows / 5 && denied < rows * 4 / 5,
        "{denied} of {rows} denied"
    );
}
