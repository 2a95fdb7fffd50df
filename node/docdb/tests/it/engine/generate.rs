//! Seeded random documents, filters, updates and operations over a small world, so that they collide.

use bson::{Bson, Document, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use yunbase_docdb::op::{Op, UpdateOp};

use super::harness::{index_spec, insert, raw, update};

pub struct Generator {
    random: StdRng,
}

const FIELDS: [&str; 4] = ["a", "b", "c.d", "e"];

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
        }
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.random.random_range(0..items.len())]
    }

    pub fn id(&mut self) -> Bson {
        let number = self.below(60);
        if number < 20 {
            Bson::Int32(number as i32)
        } else {
            Bson::String(format!("id-{number}"))
        }
    }

    fn scalar(&mut self) -> Bson {
        match self.below(8) {
            0 => Bson::Null,
            1 => Bson::Boolean(self.chance(50)),
            2 => Bson::Double(self.below(5) as f64 + 0.5),
            3 | 4 => Bson::String(["", "a", "ab", "b", "zebra"][self.below(5)].into()),
            _ => Bson::Int32(self.below(6) as i32),
        }
    }

    /// Mostly a scalar, sometimes an array or a document.
    pub fn value(&mut self) -> Bson {
        match self.below(10) {
            0 | 1 => {
                let length = self.below(4);
                Bson::Array((0..length).map(|_| self.scalar()).collect())
            }
            2 => Bson::Document(doc! { "d": self.scalar() }),
            _ => self.scalar(),
        }
    }

    pub fn document(&mut self) -> Document {
        let mut document = doc! { "_id": self.id() };
        for name in ["a", "b", "e"] {
            if self.chance(75) {
                let value = self.value();
                document.insert(name, value);
            }
        }
        if self.chance(60) {
            let inner = match self.below(4) {
                0 => Bson::Array(
                    (0..self.below(3))
                        .map(|_| Bson::Document(doc! { "d": self.scalar() }))
                        .collect(),
                ),
                1 => self.scalar(),
                _ => Bson::Document(doc! { "d": self.value() }),
            };
            document.insert("c", inner);
        }
        document
    }

    fn condition(&mut self) -> Document {
        let field = FIELDS[self.below(FIELDS.len())];
        match self.below(9) {
            0 => doc! { field: { "$gt": self.scalar() } },
            1 => doc! { field: { "$lte": self.scalar() } },
            2 => doc! { field: { "$gte": self.scalar(), "$lt": self.scalar() } },
            3 => doc! { field: { "$in": [self.scalar(), self.scalar(), self.scalar()] } },
            4 => doc! { field: { "$ne": self.scalar() } },
            5 => doc! { field: { "$exists": self.chance(50) } },
            6 => doc! { field: { "$elemMatch": { "$gte": self.scalar() } } },
            _ => doc! { field: self.value() },
        }
    }

    pub fn filter(&mut self) -> Document {
        match self.below(10) {
            0 => doc! {},
            1 => match self.below(4) {
                0 => doc! { "_id": { "$in": [self.id(), self.id(), self.id()] } },
                1 => doc! { "_id": { "$gt": self.id() } },
                2 => doc! { "_id": { "$gte": self.id(), "$lte": self.id() } },
                _ => doc! { "_id": self.id() },
            },
            2 => doc! { "$or": [self.condition(), self.condition()] },
            3 | 4 => doc! { "$and": [self.condition(), self.condition()] },
            5 => {
                let mut filter = self.condition();
                filter.extend(self.condition());
                filter
            }
            _ => self.condition(),
        }
    }

    pub fn sort(&mut self) -> Document {
        let mut sort = Document::new();
        for _ in 0..self.below(3) {
            let field = *self.pick(&["a", "b", "c.d", "e", "_id"]);
            let direction = if self.chance(50) { 1 } else { -1 };
            sort.insert(field, direction);
        }
        sort
    }

    pub fn index(&mut self) -> (Vec<(&'static str, bool)>, bool) {
        let mut fields: Vec<(&str, bool)> = Vec::new();
        for _ in 0..=self.below(3) {
            let field = FIELDS[self.below(FIELDS.len())];
            if fields.iter().all(|(other, _)| *other != field) {
                let descending = self.chance(40);
                fields.push((field, descending));
            }
        }
        (fields, self.chance(15))
    }

    fn change(&mut self) -> Document {
        let field = FIELDS[self.below(FIELDS.len())];
        match self.below(5) {
            0 => doc! { "$unset": { field: "" } },
            1 => doc! { "$inc": { "n": 1 } },
            _ => doc! { "$set": { field: self.value() } },
        }
    }

    /// Any write; many are refused.
    pub fn write(&mut self) -> Op {
        let collection = *self.pick(&["x", "y"]);
        match self.below(40) {
            0 => Op::DropCollection {
                collection: collection.into(),
            },
            1 | 2 => Op::CreateCollection {
                collection: collection.into(),
            },
            3 | 4 => {
                let (fields, unique) = self.index();
                Op::CreateIndex {
                    collection: collection.into(),
                    index: index_spec(&fields, unique),
                }
            }
            5 => {
                let (fields, unique) = self.index();
                Op::DropIndex {
                    collection: collection.into(),
                    name: index_spec(&fields, unique).name,
                }
            }
            6..=20 => {
                let documents: Vec<_> = (0..=self.below(3)).map(|_| self.document()).collect();
                insert(collection, &documents)
            }
            21..=33 => {
                let replace = self.chance(20);
                let body = if replace {
                    doc! { "a": self.value() }
                } else {
                    self.change()
                };
                let multi = !replace && self.chance(30);
                let upsert = self.chance(20);
                let upsert_id = format!("id-{}", self.below(60));
                let filter = self.filter();
                Op::Update {
                    collection: collection.into(),
                    update: UpdateOp {
                        replace,
                        multi,
                        upsert,
                        upsert_id,
                        ..update(filter, body)
                    },
                }
            }
            _ => {
                let (filter, multi) = (self.filter(), self.chance(20));
                Op::Remove {
                    collection: collection.into(),
                    filter: raw(&filter),
                    multi,
                }
            }
        }
    }
}
