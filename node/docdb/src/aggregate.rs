//! The aggregation pipeline: typed stages through which documents flow one by one, over one consistent view.
//!
//! `parse` makes stages of a client's pipeline and `optimize` moves filters and limits forward where that
//! plainly changes nothing. `engine` lets the planner choose how the leading filter and sort are carried
//! out and pushes each document through a chain of operators (`chain`); those that must see all of their
//! input first hold it within the query's memory and spill what is beyond (`resources`, `runs`, `sorter`).
//! Semantics are MongoDB's; groups come in the order of their first document unless they were spilled.

mod accumulator;
mod bucket;
mod chain;
mod edit;
mod engine;
mod facet;
mod geo_near;
mod graph_lookup;
mod group;
mod lookup;
mod optimize;
mod parse;
mod redact;
mod resources;
mod runs;
mod shape;
mod sorter;
mod stage;
mod stream;
mod unwind;

#[cfg(test)]
mod aggregate_test;
#[cfg(test)]
mod carry_out_test;

use bson::{Document, RawDocument, RawDocumentBuf, doc};

use crate::error::Result;
use crate::expr::Bindings;
use crate::guard::Joined;
use crate::op::OpReply;
use crate::query::{Budget, exceeded, parse_filter};
use crate::read::Snapshot;
use crate::value::check_document;
use chain::{Flow, Sink};
use engine::{Engine, Ran};
use stage::Stage;

/// What an aggregation asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) env: &'a str,
    pub(crate) collection: &'a str,
    pub(crate) pipeline: &'a [RawDocumentBuf],
    /// Documents of the collection that do not match are to this request as if they did not exist. Empty: all do.
    pub(crate) visible: &'a RawDocument,
    /// What `$sample` draws from.
    pub(crate) seed: u64,
    /// The other collections that it may read and what of them; `None`: all of everything.
    pub(crate) joined: Option<&'a [Joined]>,
}

/// Carries out an aggregation.
pub(crate) fn aggregate(snapshot: &Snapshot<'_>, request: &Request<'_>) -> Result<OpReply> {
    let mut result = Collected::new(snapshot.budget);
    run(snapshot, request, &mut result)?;
    Ok(OpReply::Found {
        documents: result.documents,
        next: Vec::new(),
    })
}

/// Carries out an aggregation and tells how.
pub(crate) fn explain(snapshot: &Snapshot<'_>, request: &Request<'_>) -> Result<Document> {
    let mut result = Collected::new(snapshot.budget);
    let ran = run(snapshot, request, &mut result)?;
    let stages: Vec<_> = ran
        .stages
        .iter()
        .map(|(name, taken)| doc! { "stage": *name, "documentsIn": *taken as i64 })
        .collect();
    let mut plan = ran.plan;
    plan.insert("stages", stages);
    plan.insert("spilledBytes", ran.spilled_bytes as i64);
    plan.insert("documentsReturned", result.documents.len() as i64);
    Ok(plan)
}

fn run(snapshot: &Snapshot<'_>, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Ran> {
    let mut stages = parsed(request.pipeline, snapshot.now_ms)?;
    if snapshot.budget.optimize {
        optimize::optimize(&mut stages);
    }
    let collection = snapshot.catalog.require(request.env, request.collection)?;
    let engine = Engine::new(snapshot, request)?;
    let visible = parse_filter(request.visible, snapshot.now_ms)?;
    engine.run_explained(collection, &stages, Some(visible), sink)
}

/// Refuses a pipeline that is wrong whatever the database holds.
pub(crate) fn check(pipeline: &[RawDocumentBuf], now_ms: i64) -> Result<()> {
    parsed(pipeline, now_ms).map(drop)
}

fn parsed(pipeline: &[RawDocumentBuf], now_ms: i64) -> Result<Vec<Stage>> {
    let bindings = Bindings {
        now_ms,
        ..Bindings::default()
    };
    parse::Parser::new(bindings).pipeline(pipeline)
}

/// The result. There is no way to continue one, so one that does not fit is refused.
struct Collected<'a> {
    budget: &'a Budget<'a>,
    bytes: usize,
    documents: Vec<RawDocumentBuf>,
}

impl<'a> Collected<'a> {
    fn new(budget: &'a Budget<'a>) -> Self {
        Self {
            budget,
            bytes: 0,
            documents: Vec::new(),
        }
    }
}

impl Sink for Collected<'_> {
    fn take(&mut self, document: &RawDocument) -> Result<Flow> {
        if self.documents.len() as u64 >= self.budget.result_documents_max {
            let limit = format!(
                "the limit of {} documents in a result",
                self.budget.result_documents_max
            );
            return Err(exceeded(&limit, "add a '$limit' or '$group' stage"));
        }
        // Stages may nest documents deeper than any stored one.
        check_document(document)?;
        self.bytes += document.as_bytes().len();
        if self.bytes > self.budget.result_bytes_max {
            let limit = format!(
                "the limit of {} bytes in a result",
                self.budget.result_bytes_max
            );
            return Err(exceeded(&limit, "add a '$limit' or '$project' stage"));
        }
        self.documents.push(document.to_owned());
        Ok(Flow::More)
    }
}
