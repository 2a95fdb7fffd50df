//! Rearranging a pipeline where the result plainly stays the same.
//!
//! Filters move forward past stages that do not touch what they look at, so that fewer documents go
//! through and the planner may use them; limits move forward past stages that turn one document into
//! one; a sort that a limit follows keeps only the first documents. A document that a later filter
//! removes may no longer cause an error in a stage that it used to pass, as in MongoDB.

use super::stage::Stage;
use crate::filter::Filter;

pub(super) fn optimize(stages: &mut Vec<Stage>) {
    for stage in stages.iter_mut() {
        match stage {
            Stage::Facet(facets) => facets.iter_mut().for_each(|(_, inner)| optimize(inner)),
            Stage::UnionWith(_, inner) => optimize(inner),
            Stage::Lookup(lookup) => {
                if let Some(inner) = lookup
                    .pipeline
                    .as_mut()
                    .and_then(|pipeline| pipeline.constant.as_mut())
                {
                    optimize(inner);
                }
            }
            _ => {}
        }
    }
    move_filters(stages);
    move_limits(stages);
    merge_limits(stages);
    limit_sorts(stages);
}

/// Moves each condition as far forward as it goes, and merges filters that have come together.
fn move_filters(stages: &mut Vec<Stage>) {
    let mut moved: Vec<Stage> = Vec::with_capacity(stages.len());
    for stage in stages.drain(..) {
        let Stage::Match(filter) = stage else {
            moved.push(stage);
            continue;
        };
        for condition in filter.into_conditions() {
            if condition.is_empty() {
                continue;
            }
            let at = place_of(&condition, &moved);
            let beside = [Some(at), at.checked_sub(1)].into_iter().flatten();
            let known = beside.into_iter().find(|at| {
                moved
                    .get(*at)
                    .is_some_and(|stage| matches!(stage, Stage::Match(_)))
            });
            match known.map(|known| &mut moved[known]) {
                Some(Stage::Match(known)) => {
                    let before = std::mem::replace(known, Filter::everything());
                    *known = before.and(condition);
                }
                _ => moved.insert(at, Stage::Match(condition)),
            }
        }
    }
    *stages = moved;
}

/// Before which stage a filter may stand.
fn place_of(condition: &Filter, stages: &[Stage]) -> usize {
    let mut at = stages.len();
    if let Some(paths) = condition.paths() {
        let fields: Vec<&str> = paths
            .iter()
            .map(|path| path.split('.').next().unwrap_or(path))
            .collect();
        let may_refuse = condition.has_expression();
        while at > 0 && stages[at - 1].commutes_with(&fields, may_refuse) {
            at -= 1;
        }
    }
    at
}

fn move_limits(stages: &mut [Stage]) {
    for position in 1..stages.len() {
        let mut at = position;
        while at > 0
            && matches!(stages[at], Stage::Limit(_) | Stage::Skip(_))
            && stages[at - 1].is_one_to_one()
        {
            stages.swap(at - 1, at);
            at -= 1;
        }
    }
}

fn merge_limits(stages: &mut Vec<Stage>) {
    stages.dedup_by(|next, kept| match (kept, next) {
        (Stage::Limit(kept), Stage::Limit(next)) => {
            *kept = (*kept).min(*next);
            true
        }
        (Stage::Skip(kept), Stage::Skip(next)) => match kept.checked_add(*next) {
            Some(sum) => {
                *kept = sum;
                true
            }
            None => false,
        },
        _ => false,
    });
}

fn limit_sorts(stages: &mut Vec<Stage>) {
    let mut at = 0;
    while at < stages.len() {
        if matches!(stages[at], Stage::Sort(_, None)) {
            let (skipped, behind) = match stages.get(at + 1) {
                Some(Stage::Skip(count)) => (*count, at + 2),
                _ => (0, at + 1),
            };
            if let Some(Stage::Limit(count)) = stages.get(behind) {
                let wanted = count.saturating_add(skipped);
                stages.remove(behind);
                if let Stage::Sort(_, limit) = &mut stages[at] {
                    *limit = Some(wanted);
                }
            }
        }
        at += 1;
    }
}
