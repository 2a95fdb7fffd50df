//! What the judges found, each with the events that show it and its cycle.

use std::collections::HashMap;

use maud::{Markup, html};

use super::cycle;
use crate::check::Anomaly;
use crate::history::{Event, History, Kind, Operation};
use crate::report::text;

/// Anomalies with a section of their own; `results.json` has all.
const SECTIONS_MAX: usize = 20;

/// Events in the table of one.
const ROWS_MAX: usize = 40;

/// Letters of a value.
const LETTERS_MAX: usize = 600;

/// Letters of an explanation.
const EXPLANATION_MAX: usize = 2_000;

/// Operations by the indexes of both of their events.
pub(super) struct Index<'h> {
    history: &'h History,
    operations: HashMap<u64, Operation<'h>>,
}

impl<'h> Index<'h> {
    pub(super) fn of(history: &'h History, operations: &[Operation<'h>]) -> Self {
        let mut index = HashMap::with_capacity(history.events.len());
        for operation in operations {
            index.insert(operation.invoke.index, *operation);
            if let Some(completion) = operation.completion {
                index.insert(completion.index, *operation);
            }
        }
        Self {
            history,
            operations: index,
        }
    }

    /// The operation that an event belongs to, as text.
    pub(super) fn text(&self, event: u64, letters: usize) -> String {
        match self.operations.get(&event) {
            Some(operation) => format!(
                "{} {}",
                text::clip(&operation.invoke.f, 40),
                text::value(operation.value(), letters)
            ),
            None => "not in the history".to_owned(),
        }
    }

    fn event(&self, index: u64) -> Option<&'h Event> {
        self.history.events.get(usize::try_from(index).ok()?)
    }
}

/// All sections.
pub(super) fn sections(anomalies: &[Anomaly], index: &Index<'_>) -> Markup {
    html! {
        @for (at, anomaly) in anomalies.iter().take(SECTIONS_MAX).enumerate() {
            article.anomaly aria-labelledby={ "anomaly-" (at + 1) } {
                h3 id={ "anomaly-" (at + 1) } { (text::clip(&anomaly.name, 120)) }
                p { (text::clip(&anomaly.explanation, EXPLANATION_MAX)) }
                div.shown {
                    @if !anomaly.edges.is_empty() {
                        figure.cycle {
                            (cycle::graph(anomaly, index))
                            figcaption.soft { "An arrow says what had to come before what." }
                        }
                    }
                    (events(anomaly, index))
                }
            }
        }
        @if anomalies.len() > SECTIONS_MAX {
            p.soft { (text::count((anomalies.len() - SECTIONS_MAX) as u64)) " more are in " a href="results.json" { "results.json" } "." }
        }
    }
}

fn events(anomaly: &Anomaly, index: &Index<'_>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="The events that show it" {
            table.cards.events role="table" {
                thead {
                    tr role="row" {
                        th.number scope="col" { "Event" }
                        th.number scope="col" { "Time" }
                        th.number scope="col" { "Process" }
                        th scope="col" { "Type" }
                        th scope="col" { "Operation" }
                    }
                }
                tbody {
                    @for &event in anomaly.events.iter().take(ROWS_MAX) { (row(event, index.event(event))) }
                }
            }
            @if anomaly.events.len() > ROWS_MAX {
                p.soft { (text::count((anomaly.events.len() - ROWS_MAX) as u64)) " more events are in results.json." }
            }
        }
    }
}

fn row(number: u64, event: Option<&Event>) -> Markup {
    html! {
        tr role="row" {
            td.number role="cell" data-label="Event" { (number) }
            @if let Some(event) = event {
                td.number role="cell" data-label="Time" { (format!("{:.3} s", event.time as f64 / 1e9)) }
                td.number role="cell" data-label="Process" { (event.process) }
                td role="cell" data-label="Type" { span.outcome.(word(event.kind)) { (word(event.kind)) } }
                td.wide role="cell" {
                    code { (text::clip(&event.f, 40)) " " (text::value(&event.value, LETTERS_MAX)) }
                    @if let Some(error) = &event.error { div.soft { (text::clip(error, LETTERS_MAX)) } }
                }
            } @else {
                td.wide colspan="4" role="cell" { "This event is not in the history." }
            }
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Invoke => "invoke",
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    }
}
