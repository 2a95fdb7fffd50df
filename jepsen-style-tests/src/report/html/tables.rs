//! What each fault cost: a table, with what came too late marked in words and colour.

use maud::{Markup, html};

use crate::report::availability::{FAILOVER_LIMIT_NS, FaultAvailability, RECOVERY_LIMIT_NS, Wait};
use crate::report::{FaultRecord, Run, text};

/// Faults in the table; `nemesis.jsonl` has all.
const ROWS_MAX: usize = 1_000;

/// Letters of what was done, and of its proof.
const LETTERS_MAX: usize = 400;

/// The table of faults.
pub(super) fn faults(run: &Run) -> Markup {
    let rows = run.faults.iter().zip(&run.availability.faults);
    html! {
        @if run.faults.is_empty() {
            p { "No fault was injected." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Faults and what they cost" {
                table.cards.faults role="table" {
                    thead {
                        tr role="row" {
                            th scope="col" { "Fault" }
                            th.number scope="col" { "Start" }
                            th.number scope="col" { "Lasted" }
                            th.number scope="col" { "Longest gap" }
                            th.number scope="col" { "Next ok after start" }
                            th.number scope="col" { "Back after end" }
                        }
                    }
                    tbody {
                        @for (at, (record, fault)) in rows.take(ROWS_MAX).enumerate() { (row(at + 1, record, fault)) }
                    }
                }
            }
            @if run.faults.len() > ROWS_MAX {
                p.soft { (text::count((run.faults.len() - ROWS_MAX) as u64)) " more are in nemesis.jsonl." }
            }
            p.soft {
                "After a single fault ends, service is to be back within " (text::time(RECOVERY_LIMIT_NS))
                "; the death of a leader is to cost clients at most " (text::time(FAILOVER_LIMIT_NS))
                ". Back means that an operation which began afterwards ended with ok."
            }
        }
    }
}

fn row(number: usize, record: &FaultRecord, fault: &FaultAvailability) -> Markup {
    let failover = match fault.leader_death {
        true => judged(fault.fails_over_late(), fault.alone),
        false => "",
    };
    let recovery = match fault.recovery {
        Wait::Unseen => "",
        _ => judged(fault.recovers_late(), fault.alone),
    };
    html! {
        tr id={ "fault-" (number) } role="row" {
            th scope="row" role="rowheader" {
                span.badge { (number) } " " (text::clip(&record.name, 80))
                @if fault.leader_death { " " span.tag { "a leader's death" } }
                @if !fault.alone { " " span.tag { "overlaps others" } }
                div.soft { (text::clip(&record.targets.join(", "), LETTERS_MAX)) }
                div.soft { (text::clip(&record.what, LETTERS_MAX)) }
                @if record.proof.is_empty() {
                    div.late { "Nothing shows that it happened." }
                } @else {
                    div.soft { "Proof: " (text::clip(&record.proof, LETTERS_MAX)) }
                }
            }
            td.number role="cell" data-label="Start" { (text::time(record.start_ns)) }
            td.number role="cell" data-label="Lasted" { (text::time(record.end_ns.saturating_sub(record.start_ns))) }
            td.number.(failover) role="cell" data-label="Longest gap" { (text::time(fault.longest_gap_ns)) (late(failover)) }
            td.number role="cell" data-label="Next ok after start" { (wait(fault.failover)) }
            td.number.(recovery) role="cell" data-label="Back after end" { (wait(fault.recovery)) (late(recovery)) }
        }
    }
}

/// The class of a figure that has a limit.
fn judged(is_late: bool, alone: bool) -> &'static str {
    match (is_late, alone) {
        (true, _) => "late",
        (false, true) => "timely",
        (false, false) => "",
    }
}

fn late(class: &str) -> Markup {
    html! {
        @if class == "late" { " " span.word { "too long" } }
    }
}

fn wait(wait: Wait) -> Markup {
    html! {
        @match wait {
            Wait::Took(nanoseconds) => (text::time(nanoseconds)),
            Wait::Never(nanoseconds) => { "not within " (text::time(nanoseconds)) }
            Wait::Unseen => span.soft { "nobody asked" },
        }
    }
}
