//! The workloads: what one step of a client does.

use bson::{RawDocumentBuf, cstr};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;
use yunbase_client::bson::{Document, doc};
use yunbase_client::proto::request::Op;
use yunbase_client::proto::{self, response};
use yunbase_client::{Client, Collection, Error};

use super::keys::{Chooser, key};
use super::transfer::Transfers;
use crate::cli::failure::CliError;

/// Fields of a YCSB document; an update writes one of them.
const YCSB_FIELDS: usize = 10;
/// Different values that are made before the run, so that making them costs nothing during it.
const VALUES: usize = 64;

/// One of the workloads that `contracts` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// New documents with random `_id`s.
    Insert,
    /// Single documents by `_id`, each equally likely.
    Read,
    /// Single documents by an indexed field, each equally likely.
    Query,
    /// YCSB A: half reads, half updates of one field, popular documents more often.
    YcsbA,
    /// YCSB B: 95% reads, 5% updates.
    YcsbB,
    /// YCSB C: reads.
    YcsbC,
    /// YCSB F: half reads, half reads followed by an update.
    YcsbF,
    /// Transactions that read two documents and change both.
    Txn,
}

const LATER: [&str; 1] = ["invoke"];

impl Workload {
    const ALL: [(&'static str, Self); 8] = [
        ("insert", Self::Insert),
        ("read", Self::Read),
        ("query", Self::Query),
        ("ycsb-a", Self::YcsbA),
        ("ycsb-b", Self::YcsbB),
        ("ycsb-c", Self::YcsbC),
        ("ycsb-f", Self::YcsbF),
        ("txn", Self::Txn),
    ];

    /// The workload of this name.
    pub fn of_name(name: &str) -> Result<Self, CliError> {
        if let Some((_, workload)) = Self::ALL.iter().find(|(known, _)| *known == name) {
            return Ok(*workload);
        }
        let mut names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
        names.push(super::watch::NAME);
        names.extend(super::files::Kind::ALL.iter().map(|(name, _)| *name));
        let names = names.join(", ");
        Err(CliError::usage(if LATER.contains(&name) {
            format!("workload {name} is not in this version; there are {names}")
        } else {
            format!("there is no workload {name:?}; there are {names}")
        }))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, workload)| *workload == self)
            .map_or("", |(name, _)| name)
    }

    /// How many documents must be there before it begins, at least.
    pub(super) fn records_min(self) -> u64 {
        match self {
            Self::Insert => 0,
            // From one to another.
            Self::Txn => 2,
            _ => 1,
        }
    }

    /// The field that has an index, beside `_id`.
    pub(super) fn indexed_field(self) -> Option<&'static str> {
        (self == Self::Query).then_some("key")
    }

    fn is_ycsb(self) -> bool {
        !matches!(self, Self::Insert | Self::Read | Self::Query | Self::Txn)
    }

    /// Percentage of steps that change something.
    fn write_percent(self) -> u32 {
        match self {
            Self::Insert | Self::Txn => 100,
            Self::YcsbA | Self::YcsbF => 50,
            Self::YcsbB => 5,
            Self::Read | Self::Query | Self::YcsbC => 0,
        }
    }
}

/// Makes documents and updates.
pub(super) struct Maker {
    workload: Workload,
    values: Vec<String>,
}

impl Maker {
    pub(super) fn new(workload: Workload, value_bytes: usize, rng: &mut impl Rng) -> Self {
        let bytes = if workload.is_ycsb() {
            value_bytes.div_ceil(YCSB_FIELDS)
        } else {
            value_bytes
        };
        let value = |_| {
            (0..bytes)
                .map(|_| char::from(rng.random_range(b' '..=b'~')))
                .collect()
        };
        Self {
            workload,
            values: (0..VALUES).map(value).collect(),
        }
    }

    fn value(&self, rng: &mut impl Rng) -> &str {
        &self.values[rng.random_range(0..VALUES)]
    }

    /// A document with this `_id`.
    pub(super) fn document(&self, id: &str, rng: &mut impl Rng) -> Bytes {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id);
        if self.workload.is_ycsb() {
            for name in FIELD_NAMES {
                document.append(name, self.value(rng));
            }
        } else {
            document.append(cstr!("value"), self.value(rng));
        }
        if self.workload == Workload::Query {
            document.append(cstr!("key"), id);
        }
        document.into_bytes().into()
    }

    /// `{$set: {field: value}}` for one field at random.
    fn update(&self, rng: &mut impl Rng) -> Bytes {
        let mut fields = RawDocumentBuf::new();
        fields.append(
            FIELD_NAMES[rng.random_range(0..YCSB_FIELDS)],
            self.value(rng),
        );
        let mut update = RawDocumentBuf::new();
        update.append(cstr!("$set"), fields);
        update.into_bytes().into()
    }
}

const FIELD_NAMES: [&bson::raw::CStr; YCSB_FIELDS] = [
    cstr!("field0"),
    cstr!("field1"),
    cstr!("field2"),
    cstr!("field3"),
    cstr!("field4"),
    cstr!("field5"),
    cstr!("field6"),
    cstr!("field7"),
    cstr!("field8"),
    cstr!("field9"),
];

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The cluster did not do it.
    #[error(transparent)]
    Client(#[from] Error),
    /// It did something else.
    #[error("{0}")]
    Unexpected(String),
}

/// One client: takes steps over a shared connection.
pub(super) struct Stepper<'a> {
    pub(super) client: Client,
    pub(super) collection: Collection<Document>,
    pub(super) maker: &'a Maker,
    pub(super) chooser: &'a Chooser,
    pub(super) rng: SmallRng,
    /// For transactions.
    pub(super) transfers: Option<Transfers>,
}

impl Stepper<'_> {
    /// One operation of the workload; tells how often a transaction was run in vain for it.
    pub(super) async fn step(&mut self) -> Result<u64, StepError> {
        let Some(transfers) = &self.transfers else {
            return self.plain_step().await.map(|()| 0);
        };
        let from = self.chooser.choose(&mut self.rng);
        let to = match self.chooser.choose(&mut self.rng) {
            same if same == from => from.checked_sub(1).unwrap_or(1),
            other => other,
        };
        let amount = self.rng.random_range(1..100);
        let name = self.collection.name();
        transfers.step(name, (&key(from), &key(to)), amount).await
    }

    async fn plain_step(&mut self) -> Result<(), StepError> {
        let writes = self.rng.random_range(0..100) < self.maker.workload.write_percent();
        match (self.maker.workload, writes) {
            (Workload::Insert, _) => {
                let id = format!("{:032x}", self.rng.random::<u128>());
                let document = self.maker.document(&id, &mut self.rng);
                Ok(self.collection.insert_raw(vec![document]).await.map(drop)?)
            }
            (Workload::YcsbF, true) => {
                let id = key(self.chooser.choose(&mut self.rng));
                self.read(&id).await?;
                self.update(&id).await
            }
            (_, true) => {
                let id = key(self.chooser.choose(&mut self.rng));
                self.update(&id).await
            }
            (Workload::Query, _) => {
                let id = key(self.chooser.choose(&mut self.rng));
                self.query(&id).await
            }
            (_, false) => {
                let id = key(self.chooser.choose(&mut self.rng));
                self.read(&id).await
            }
        }
    }

    async fn read(&self, id: &str) -> Result<(), StepError> {
        match self.collection.get_raw(&id.into()).await? {
            Some(_) => Ok(()),
            None => Err(StepError::Unexpected(format!("document {id} is missing"))),
        }
    }

    async fn query(&self, value: &str) -> Result<(), StepError> {
        let filter = doc! { "key": value };
        let mut found = self.collection.find(filter).limit(2).all().await?;
        match (found.pop(), found.pop()) {
            (Some(_), None) => Ok(()),
            _ => Err(StepError::Unexpected(format!(
                "not one document with key {value}"
            ))),
        }
    }

    async fn update(&mut self, id: &str) -> Result<(), StepError> {
        let mut filter = RawDocumentBuf::new();
        filter.append(cstr!("_id"), id);
        let update = proto::Update {
            collection: self.collection.name().to_owned(),
            filter: filter.into_bytes().into(),
            update: self.maker.update(&mut self.rng),
            ..proto::Update::default()
        };
        match self.client.execute(Op::Update(update)).await? {
            response::Result::Updated(updated) if updated.matched == 1 => Ok(()),
            _ => Err(StepError::Unexpected(format!(
                "document {id} was not updated"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn names_round_trip_and_others_are_usage_errors() {
        for (name, workload) in Workload::ALL {
            assert_eq!(
                (Workload::of_name(name).unwrap(), workload.name()),
                (workload, name)
            );
        }
        for name in LATER {
            let error = Workload::of_name(name).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.message.contains("not in this version"));
        }
        assert!(
            Workload::of_name("nonsense")
                .unwrap_err()
                .message
                .contains("no workload")
        );
    }

    #[test]
    fn documents_have_the_size_asked_for() {
        let mut rng = SmallRng::seed_from_u64(1);
        for workload in [Workload::Insert, Workload::YcsbA] {
            let maker = Maker::new(workload, 1024, &mut rng);
            let size_bytes = maker.document("k", &mut rng).len();
            assert!(
                (1024..1250).contains(&size_bytes),
                "{workload:?}: {size_bytes}"
            );
        }
    }
}
