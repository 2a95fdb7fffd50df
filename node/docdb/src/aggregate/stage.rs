//! The stages of a pipeline as they are carried out.

use bson::{RawBson, RawDocumentBuf};

use super::accumulator::Accumulation;
use super::shape::Shape;
use super::unwind::Unwind;
use crate::expr::{Computed, Expression};
use crate::filter::Filter;
use crate::geo::Near;
use crate::sort::Sort;
use crate::value::Path;

#[derive(Debug, Clone)]
pub(super) enum Stage {
    Match(Filter),
    /// Only ever the first.
    GeoNear(Box<GeoNear>),
    /// `$project`, `$addFields`, `$unset`
    Shape(Shape),
    Unwind(Unwind),
    /// `$replaceRoot`, `$replaceWith`
    ReplaceRoot(Expression),
    Limit(u64),
    Skip(u64),
    /// With a limit only the first so many.
    Sort(Sort, Option<u64>),
    /// `$group`, `$bucket`
    Group(Group),
    BucketAuto(BucketAuto),
    /// The name of the field.
    Count(String),
    Sample(u64),
    Facet(Vec<(String, Vec<Stage>)>),
    Lookup(Lookup),
    UnionWith(String, Vec<Stage>),
    GraphLookup(Box<GraphLookup>),
    Redact(Expression),
}

/// A query by distance that tells the distances.
#[derive(Debug, Clone)]
pub(super) struct GeoNear {
    pub(super) near: Near,
    /// The field with places; `None`: that of the collection's only geo index.
    pub(super) key: Option<Path>,
    /// What documents must satisfy besides.
    pub(super) query: Filter,
    /// Where the distance goes.
    pub(super) distance_field: Vec<Box<str>>,
    /// Written instead of each metre.
    pub(super) distance_multiplier: f64,
    /// Where the place goes that was measured to: a document may have several.
    pub(super) place_field: Option<Vec<Box<str>>>,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) fields: Vec<Accumulation>,
}

/// What documents are grouped by.
#[derive(Debug, Clone)]
pub(super) enum GroupKey {
    Value(Expression),
    /// The largest boundary that is not above the value; `default` for values outside.
    Bucket {
        by: Expression,
        /// Ascending, at least two.
        boundaries: Vec<RawBson>,
        default: Option<RawBson>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct BucketAuto {
    pub(super) by: Expression,
    pub(super) buckets: u64,
    pub(super) fields: Vec<Accumulation>,
}

#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub(super) from: String,
    /// `localField` and `foreignField`.
    pub(super) join: Option<(Path, Path)>,
    pub(super) pipeline: Option<LookupPipeline>,
    pub(super) target: Vec<Box<str>>,
}

/// The pipeline of a `$lookup`.
#[derive(Debug, Clone)]
pub(super) struct LookupPipeline {
    /// `let`
    pub(super) definitions: Vec<(String, Expression)>,
    /// Variables of the pipelines around this one.
    pub(super) outer: Vec<(String, Computed)>,
    /// As sent: parsed again for each document when it refers to `definitions`.
    pub(super) text: Vec<RawDocumentBuf>,
    /// Parsed once when it does not.
    pub(super) constant: Option<Vec<Stage>>,
}

#[derive(Debug, Clone)]
pub(super) struct GraphLookup {
    pub(super) from: String,
    pub(super) start_with: Expression,
    pub(super) connect_from: Path,
    pub(super) connect_to: Path,
    pub(super) target: Vec<Box<str>>,
    pub(super) depth_max: Option<u64>,
    pub(super) depth_field: Option<Vec<Box<str>>>,
    pub(super) restrict: Filter,
}

impl Stage {
    /// As clients spell it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Match(_) => "$match",
            Self::GeoNear(_) => "$geoNear",
            Self::Shape(shape) => shape.name(),
            Self::Unwind(_) => "$unwind",
            Self::ReplaceRoot(_) => "$replaceRoot",
            Self::Limit(_) => "$limit",
            Self::Skip(_) => "$skip",
            Self::Sort(..) => "$sort",
            Self::Group(_) => "$group",
            Self::BucketAuto(_) => "$bucketAuto",
            Self::Count(_) => "$count",
            Self::Sample(_) => "$sample",
            Self::Facet(_) => "$facet",
            Self::Lookup(_) => "$lookup",
            Self::UnionWith(..) => "$unionWith",
            Self::GraphLookup(_) => "$graphLookup",
            Self::Redact(_) => "$redact",
        }
    }

    /// Whether each document that goes in comes out as exactly one, in the same order.
    pub(super) fn is_one_to_one(&self) -> bool {
        matches!(
            self,
            Self::Shape(_) | Self::ReplaceRoot(_) | Self::Lookup(_) | Self::GraphLookup(_)
        )
    }

    /// Whether a filter on the top-level fields `fields` decides the same before and behind this stage, and
    /// the stage does nothing to one document because of another that the filter would remove. A filter that
    /// may refuse documents must not see more of them than before.
    pub(super) fn commutes_with(&self, fields: &[&str], may_refuse: bool) -> bool {
        let misses = |path: &[Box<str>]| path.first().is_none_or(|top| !fields.contains(&&**top));
        match self {
            Self::Sort(_, None) => true,
            Self::Shape(shape) => fields.iter().all(|field| shape.keeps(field)),
            Self::Match(_) => !may_refuse,
            Self::Unwind(unwind) => {
                !may_refuse && misses(unwind.path()) && misses(unwind.index_path())
            }
            Self::Lookup(lookup) => misses(&lookup.target),
            Self::GraphLookup(lookup) => misses(&lookup.target),
            _ => false,
        }
    }
}
