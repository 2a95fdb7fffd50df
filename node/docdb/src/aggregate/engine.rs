//! Carrying out pipelines: where their documents come from, and the operators that they go through.
//!
//! The leading filter and the sort behind it go to the planner. Whatever plan it chooses, documents flow in
//! the same order: that of the sort when an index has it, else that of `_id`; after `$geoNear` that of distance.

use std::cell::Cell;
use std::collections::HashMap;

use bson::{Document, RawDocument};

use super::Request;
use super::bucket::Bucketing;
use super::chain::{Chain, Flow, Link, Sink};
use super::facet::{Faceting, Uniting};
use super::geo_near::Measuring;
use super::graph_lookup::Exploring;
use super::group::Grouping;
use super::lookup::LookingUp;
use super::redact::Redacting;
use super::resources::Resources;
use super::shape::Shaping;
use super::stage::{GeoNear, Stage};
use super::stream::{
    Counting, Limiting, Matching, Replacing, Sampling, Skipping, Sorting, next_random,
};
use super::unwind::Unwinding;
use crate::catalog::Collection;
use crate::error::{Error, Result};
use crate::executor::Effort;
use crate::explain;
use crate::filter::Filter;
use crate::geo::near::only_path;
use crate::guard::{Joined, denied};
use crate::planner::Choice;
use crate::query::{Query, parse_filter};
use crate::read::Snapshot;
use crate::state::load_tally;
use crate::value::Path;

/// Carries out the pipelines of one request.
pub(super) struct Engine<'a> {
    snapshot: &'a Snapshot<'a>,
    env: &'a str,
    resources: Resources<'a>,
    random: Cell<u64>,
    /// Documents examined by all pipelines of the request.
    examined: Cell<u64>,
    /// What may be seen of each collection that is joined; `None`: everything of all.
    visible: Option<HashMap<&'a str, Filter>>,
}

/// What carrying out a pipeline took.
pub(super) struct Ran {
    /// How its documents were found.
    pub(super) plan: Document,
    /// Each operator and how many documents it took.
    pub(super) stages: Vec<(&'static str, u64)>,
    pub(super) spilled_bytes: u64,
}

/// A pipeline after planning.
struct Planned<'p> {
    query: Query,
    choice: Choice,
    links: Vec<Link<'p>>,
    /// The answer needs no documents.
    is_counted: bool,
}

impl<'a> Engine<'a> {
    pub(super) fn new(snapshot: &'a Snapshot<'a>, request: &Request<'a>) -> Result<Self> {
        let parse = |joined: &'a Joined| {
            let filter = parse_filter(&joined.visible, snapshot.now_ms)?;
            Ok::<_, Error>((joined.collection.as_str(), filter))
        };
        let visible = request
            .joined
            .map(|joined| joined.iter().map(parse).collect());
        Ok(Self {
            snapshot,
            env: request.env,
            resources: Resources::new(snapshot.budget),
            random: Cell::new(request.seed),
            examined: Cell::new(0),
            visible: visible.transpose()?,
        })
    }

    pub(super) fn resources(&self) -> &Resources<'a> {
        &self.resources
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.snapshot.now_ms
    }

    /// A collection of the request's environment.
    pub(super) fn collection(&self, name: &str) -> Result<&Collection> {
        Ok(self.snapshot.catalog.require(self.env, name)?)
    }

    /// Pushes the result of a pipeline over a collection that is joined, of which only documents that satisfy
    /// `filter` and may be seen take part.
    pub(super) fn run(
        &self,
        collection: &Collection,
        stages: &[Stage],
        filter: Option<Filter>,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let filter = match &self.visible {
            None => filter,
            Some(visible) => {
                let what = "this aggregation to join it";
                let visible = visible.get(&*collection.name).cloned();
                let visible = visible.ok_or_else(|| denied(what, &collection.name))?;
                // First, so that no condition of the request is evaluated on what it cannot see.
                Some(match filter {
                    Some(filter) => visible.and(filter),
                    None => visible,
                })
            }
        };
        let mut planned = self.plan(collection, stages, filter)?;
        self.carry_out(collection, &mut planned, sink).map(|_| ())
    }

    /// The same, with an account of it.
    pub(super) fn run_explained(
        &self,
        collection: &Collection,
        stages: &[Stage],
        filter: Option<Filter>,
        sink: &mut dyn Sink,
    ) -> Result<Ran> {
        let mut planned = self.plan(collection, stages, filter)?;
        let effort = self.carry_out(collection, &mut planned, sink)?;
        let plan = explain::plan(collection, &planned.query, &planned.choice, &effort);
        let links = planned.links.iter();
        Ok(Ran {
            plan,
            stages: links.map(|link| (link.name, link.taken)).collect(),
            spilled_bytes: self.resources.spilled_bytes(),
        })
    }

    fn plan<'p>(
        &'p self,
        collection: &Collection,
        stages: &'p [Stage],
        filter: Option<Filter>,
    ) -> Result<Planned<'p>> {
        let mut filter = filter.unwrap_or_else(Filter::everything);
        if let [Stage::GeoNear(stage), tail @ ..] = stages {
            return self.plan_near(collection, stage, tail, filter);
        }
        let mut rest = stages;
        while let [Stage::Match(condition), tail @ ..] = rest {
            filter = filter.and(condition.clone());
            rest = tail;
        }
        if let [Stage::Count(field), tail @ ..] = rest
            && filter.is_empty()
        {
            let count = load_tally(self.snapshot.view, collection.id)?.documents;
            let mut links = vec![Link::new("$count", Counting::with(field, count))];
            links.extend(self.links(tail)?);
            let query = Query::by_filter(filter)?;
            return Ok(Planned {
                choice: self.snapshot.choose(collection, &query)?,
                query,
                links,
                is_counted: true,
            });
        }
        let mut query = Query::by_filter(filter)?;
        match rest {
            [Stage::Sort(sort, limit), ..] => {
                query.set_sort(sort.clone());
                query.limit = *limit;
            }
            [Stage::Limit(limit), ..] => query.limit = Some(*limit),
            _ => {}
        }
        let choice = self.snapshot.choose(collection, &query)?;
        let mut links = Vec::with_capacity(rest.len());
        if let [Stage::Sort(_, limit), tail @ ..] = rest
            && choice.best.ordered
        {
            links.extend(limit.map(|limit| Link::new("$limit", Limiting(limit))));
            rest = tail;
        }
        links.extend(self.links(rest)?);
        Ok(Planned {
            query,
            choice,
            links,
            is_counted: false,
        })
    }

    /// A pipeline that begins with the nearest documents of those that satisfy `filter`.
    fn plan_near<'p>(
        &'p self,
        collection: &Collection,
        stage: &'p GeoNear,
        rest: &'p [Stage],
        filter: Filter,
    ) -> Result<Planned<'p>> {
        let key = match &stage.key {
            Some(key) => key.clone(),
            None => Path::parse(only_path(collection)?)?,
        };
        let filter = filter.and(stage.query.clone());
        let mut query = Query::by_filter(filter.and_near(key.clone(), stage.near.clone())?)?;
        if let [Stage::Limit(limit), ..] = rest {
            query.limit = Some(*limit);
        }
        let mut links = vec![Link::new("$geoNear", Measuring::new(stage, key))];
        links.extend(self.links(rest)?);
        Ok(Planned {
            choice: self.snapshot.choose(collection, &query)?,
            query,
            links,
            is_counted: false,
        })
    }

    fn carry_out(
        &self,
        collection: &Collection,
        planned: &mut Planned<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Effort> {
        let mut chain = Chain::new(&mut planned.links, sink);
        let mut effort = Effort::default();
        if !planned.is_counted {
            let before = self.examined.get();
            let mut scan = self
                .snapshot
                .scan(collection, &planned.choice.best, &planned.query);
            scan.effort.documents_examined = before;
            let mut visit =
                |_: &[u8], document: &RawDocument| Ok(chain.push(document)? == Flow::More);
            if planned.choice.best.ordered {
                scan.run(&mut visit)?;
            } else {
                scan.run_by_id(&mut visit)?;
            }
            effort = scan.effort;
            self.examined.set(effort.documents_examined);
            effort.documents_examined -= before;
        }
        chain.finish()?;
        Ok(effort)
    }

    /// The operators of some stages.
    pub(super) fn links<'p>(&'p self, stages: &'p [Stage]) -> Result<Vec<Link<'p>>> {
        stages.iter().map(|stage| self.link(stage)).collect()
    }

    fn link<'p>(&'p self, stage: &'p Stage) -> Result<Link<'p>> {
        let (name, resources) = (stage.name(), &self.resources);
        Ok(match stage {
            Stage::Match(filter) => Link::new(name, Matching(filter)),
            Stage::GeoNear(_) => {
                return Err(Error::internal("'$geoNear' behind another stage"));
            }
            Stage::Shape(shape) => Link::new(name, Shaping::new(shape)),
            Stage::Unwind(unwind) => Link::new(name, Unwinding::new(unwind)),
            Stage::ReplaceRoot(root) => Link::new(name, Replacing(root)),
            Stage::Limit(limit) => Link::new(name, Limiting(*limit)),
            Stage::Skip(count) => Link::new(name, Skipping(*count)),
            Stage::Sort(sort, limit) => Link::new(name, Sorting::new(sort, *limit, resources)),
            Stage::Group(group) => Link::new(name, Grouping::new(group, resources)),
            Stage::BucketAuto(buckets) => Link::new(name, Bucketing::new(buckets, resources)),
            Stage::Count(field) => Link::new(name, Counting::new(field)),
            Stage::Sample(size) => {
                let mut random = self.random.get();
                let seed = next_random(&mut random);
                self.random.set(random);
                Link::new(name, Sampling::new(*size, seed, resources))
            }
            Stage::Facet(facets) => Link::new(name, Faceting::new(facets, self)?),
            Stage::Lookup(lookup) => Link::new(name, LookingUp::new(lookup, self)?),
            Stage::UnionWith(collection, stages) => {
                Link::new(name, Uniting::new(collection, stages, self))
            }
            Stage::GraphLookup(lookup) => Link::new(name, Exploring::new(lookup, self)?),
            Stage::Redact(expression) => Link::new(name, Redacting::new(expression)),
        })
    }
}
