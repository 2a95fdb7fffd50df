//! `report.html`: one page that needs no network. Everything from the run passes through `maud`, which escapes it.

mod anomaly;
mod cycle;
mod latency;
mod plot;
mod rates;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod well_formed;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::timeline::Timeline;
use super::{Run, text};
use crate::check::Validity;

/// Notes on the page; `results.json` has all.
const NOTES_MAX: usize = 100;

/// Links to logs.
const LOGS_MAX: usize = 200;

/// What stays as it is in a link to a file beside the page. No colon: a link with a scheme would lead elsewhere.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');

/// A page with the style that all pages share.
pub(super) fn document(title: &str, body: &Markup, script: &str) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main { (body) }
                @if !script.is_empty() { script { (PreEscaped(script)) } }
            }
        }
    }
    .into_string()
}

/// A link to a file beside the page.
pub(super) fn link(path: &str) -> Markup {
    html! {
        a href={ "./" (utf8_percent_encode(path, PATH)) } { (text::clip(path, 120)) }
    }
}

/// The class and the word of a verdict.
pub(super) fn verdict_word(validity: Validity) -> (&'static str, &'static str) {
    match validity {
        Validity::Valid => ("valid", "Valid"),
        Validity::Invalid => ("invalid", "Not valid"),
        Validity::Unknown => ("unknown", "Unknown"),
    }
}

/// The class of a page's head: nothing is green where service came back too late.
pub(super) fn tone(class: &'static str, late: u64) -> &'static str {
    match (class, late) {
        ("valid", 1..) => "unknown",
        _ => class,
    }
}

/// The page of a run.
pub(super) fn page(run: &Run) -> String {
    let timeline = Timeline::of(&run.history);
    let operations = run.history.operations();
    let index = anomaly::Index::of(&run.history, &operations);
    let body = html! {
        (head(run))
        (figures(run, &timeline))
        @if !run.verdict.anomalies.is_empty() {
            section aria-labelledby="anomalies" {
                h2 id="anomalies" { "Anomalies" }
                (anomaly::sections(&run.verdict.anomalies, &index))
            }
        }
        section aria-labelledby="latency" {
            h2 id="latency" { "Latency" }
            (latency::plot(&operations, &timeline, &run.faults))
            p.readout data-readout aria-hidden="true" { "Point at a plot, or move along it with the arrow keys, to read a second." }
            (latency::table(&timeline))
        }
        section aria-labelledby="rates" {
            h2 id="rates" { "Operations a second" }
            (rates::plot(&timeline, &run.faults))
            p.readout data-readout aria-hidden="true" { "Point at a plot, or move along it with the arrow keys, to read a second." }
        }
        section aria-labelledby="faults" {
            h2 id="faults" { "Faults and availability" }
            (tables::faults(run))
        }
        (notes(run))
        (files(run))
        script type="application/json" id="seconds" { (PreEscaped(seconds(run, &timeline))) }
    };
    let title = format!("{}: {}", verdict_word(run.verdict.validity).1, run.workload);
    document(&title, &body, include_str!("page.js"))
}

fn head(run: &Run) -> Markup {
    let (class, word) = verdict_word(run.verdict.validity);
    let started = i64::try_from(run.started_unix_ms)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    let facts = [
        ("Workload", run.workload.clone()),
        ("Nemeses", or_none(&run.nemeses)),
        ("Seed", run.seed.to_string()),
        ("Nodes", or_none(&run.nodes)),
        ("Mode", run.mode.clone()),
        ("Began", started.unwrap_or_default()),
        ("Lasted", text::time(run.duration_ns)),
    ];
    html! {
        header.verdict.(tone(class, run.availability.late() as u64)) {
            p.kicker { "yunbase chaos run" }
            h1 { span.word { (word) "." } " " (sentence(run)) }
            dl.facts {
                @for (name, fact) in &facts {
                    div { dt { (name) } dd { (text::clip(fact, 300)) } }
                }
            }
            div.command {
                span id="command-name" { "Repeat it" }
                code tabindex="0" aria-labelledby="command-name" data-command { (run.command) }
                button type="button" data-copy hidden { "Copy" }
            }
        }
    }
}

/// What the verdict means, behind its word.
fn sentence(run: &Run) -> String {
    let figures = &run.availability;
    let operations = text::plural(figures.operations.total(), "operation");
    let through = match run.faults.len() {
        0 => "without faults".to_owned(),
        faults => format!("through {}", text::plural(faults as u64, "fault")),
    };
    let mut sentence = match run.verdict.validity {
        Validity::Valid => format!("No anomaly in {operations} {through}"),
        Validity::Invalid => {
            let mut names: Vec<String> = Vec::new();
            for anomaly in &run.verdict.anomalies {
                let name = text::clip(&anomaly.name, 60);
                if names.len() < 4 && !names.contains(&name) {
                    names.push(name);
                }
            }
            let anomalies = text::plural(run.verdict.anomalies.len() as u64, "anomaly");
            format!(
                "{anomalies} in {operations} {through}: {}",
                names.join(", ")
            )
        }
        Validity::Unknown => {
            let why = run
                .verdict
                .notes
                .first()
                .map_or("no reason given", |why| why);
            format!(
                "It could not be told whether {operations} {through} were right: {}",
                text::clip(why.trim_end_matches('.'), 200)
            )
        }
    };
    let late = figures.late() as u64;
    let unproven = run.faults.iter().filter(|fault| fault.proof.is_empty());
    match (late, figures.slowest_recovery_ns()) {
        (0, None) => {}
        (0, Some(slowest)) => {
            sentence.push_str(&format!(
                "; service was back within {}",
                text::time(slowest)
            ));
        }
        (late, _) => sentence.push_str(&format!(
            "; service came back too late after {}",
            text::plural(late, "fault")
        )),
    }
    match unproven.count() as u64 {
        0 => {}
        unproven => sentence.push_str(&format!(
            "; {} cannot be shown to have happened",
            text::plural(unproven, "fault")
        )),
    }
    sentence.push('.');
    sentence
}

fn or_none(words: &[String]) -> String {
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    }
}

fn figures(run: &Run, timeline: &Timeline) -> Markup {
    let figures = &run.availability;
    let time = |nanoseconds: Option<u64>| nanoseconds.map_or("–".to_owned(), text::time);
    let tiles = [
        ("Operations", text::count(figures.operations.total())),
        ("Ok", text::count(figures.operations.ok)),
        ("Failed", text::count(figures.operations.fail)),
        ("Unknown", text::count(figures.operations.info)),
        ("p99 of ok", text::time(timeline.all.total.p99)),
        (
            "Longest gap",
            time(figures.longest_gap.map(|gap| gap.length_ns())),
        ),
        ("Slowest recovery", time(figures.slowest_recovery_ns())),
        ("Slowest failover", time(figures.slowest_failover_ns())),
    ];
    html! {
        dl.tiles {
            @for (name, figure) in &tiles {
                div { dt { (name) } dd { (figure) } }
            }
        }
    }
}

fn notes(run: &Run) -> Markup {
    let notes: Vec<&String> = run.verdict.notes.iter().chain(&run.notes).collect();
    html! {
        @if !notes.is_empty() {
            section aria-labelledby="notes" {
                h2 id="notes" { "Notes" }
                ul.notes {
                    @for note in notes.iter().take(NOTES_MAX) { li { (text::clip(note, 1_000)) } }
                }
                @if notes.len() > NOTES_MAX { p.soft { "More are in results.json." } }
            }
        }
    }
}

fn files(run: &Run) -> Markup {
    let files = [
        ("history.edn", "the history, for Elle and Knossos"),
        ("history.jsonl", "the same, a JSON object a line"),
        ("nemesis.jsonl", "each fault's beginning and end"),
        ("results.json", "this page's figures, for scripts"),
    ];
    html! {
        section aria-labelledby="files" {
            h2 id="files" { "Files" }
            ul.files {
                @for (file, what) in files { li { (link(file)) span.soft { (what) } } }
                @for log in run.logs.iter().take(LOGS_MAX) { li { (link(log)) span.soft { "log of a node" } } }
            }
        }
    }
}

/// What the reading line reads: numbers only, so that there is nothing to escape.
fn seconds(run: &Run, timeline: &Timeline) -> String {
    let buckets: Vec<_> = timeline
        .outcomes
        .iter()
        .zip(&timeline.all.buckets)
        .map(|(counts, latency)| {
            let (p50, p99) = latency.map_or((0, 0), |latency| (latency.p50, latency.p99));
            [
                counts.ok,
                counts.fail,
                counts.info,
                p50 / 1_000,
                p99 / 1_000,
            ]
        })
        .collect();
    let faults: Vec<_> = run
        .faults
        .iter()
        .map(|fault| [fault.start_ns / 1_000_000, fault.end_ns / 1_000_000])
        .collect();
    serde_json::json!({
        "width": timeline.bucket_ns / 1_000_000,
        "end": timeline.end_ns / 1_000_000,
        "buckets": buckets,
        "faults": faults,
    })
    .to_string()
}
