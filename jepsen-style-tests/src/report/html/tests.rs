//! Whole pages, read strictly.

use super::page;
use super::well_formed::{self, Page};
use crate::check::{Validity, Verdict};
use crate::history::History;
use crate::report::availability::Availability;
use crate::report::sample::{self, HOSTILE};

fn read(html: &str) -> Page {
    well_formed::read(html).unwrap_or_else(|wrong| panic!("the page is not well-formed: {wrong}"))
}

/// With `CHAOS_REPORT_EXAMPLE` set to a folder, the run is left there to be looked at.
#[test]
fn a_run_with_faults_and_anomalies_is_told_in_full() {
    let run = sample::run(20_000);
    assert!(run.history.events.len() >= 20_000);
    if let Some(folder) = std::env::var_os("CHAOS_REPORT_EXAMPLE") {
        std::fs::create_dir_all(&folder).unwrap();
        run.write(folder.as_ref()).unwrap();
    }
    let html = page(&run);
    let page = read(&html);

    assert!(page.text.contains("Not valid. 2 anomalies in"));
    assert!(
        page.text
            .contains("through 2 faults: G-single, lost update")
    );
    assert!(page.text.contains(&run.command));
    assert!(page.text.contains("8301442") && page.text.contains("2025-11-26 23:33:20 UTC"));
    assert_eq!(page.count("h1"), 1);
    assert_eq!(page.count("article"), run.verdict.anomalies.len());
    for anomaly in &run.verdict.anomalies {
        assert!(page.text.contains(&anomaly.explanation));
    }
    // Two plots, each with both faults shaded and named, and two cycles.
    let classes = page.values("class");
    let has = |class: &str| classes.iter().filter(|value| **value == class).count();
    assert_eq!(has("plot"), 2);
    assert_eq!(has("shade"), 2 * 2);
    assert_eq!(has("fault"), 2 * 2);
    assert_eq!(has("graph"), 2);
    assert_eq!(has("node"), 3 + 2);
    assert_eq!(has("arrow rw") + has("arrow wr") + has("arrow ww"), 4);
    assert_eq!(has("arrow realtime"), 1);
    assert_eq!(has("stack ok"), 1);
    assert!(
        page.text
            .contains("99999999This event is not in the history.")
    );
    // The second fault's end is followed by service at once, the first one's gap is within the limit.
    assert!(page.text.contains("a leader's death"));
    assert!(has("number timely") >= 2 && has("number late") == 0);

    let links = page.values("href");
    for file in [
        "./history.edn",
        "./history.jsonl",
        "./nemesis.jsonl",
        "./logs/n1.log",
    ] {
        assert!(links.contains(&file), "{file} is not linked");
    }
    assert!(links.contains(&"./logs/n%202%3Cb%3E.log"));
    assert!(html.len() < 400_000, "{} bytes", html.len());
}

#[test]
fn what_a_database_answers_cannot_break_the_page() {
    let html = page(&sample::run(2_000));
    let page = read(&html);
    // It is there as text ...
    assert!(page.text.contains(HOSTILE));
    // ... and not as what it says: only our own two scripts, no pictures, no links that lead away.
    assert_eq!((page.count("script"), page.count("img")), (2, 0));
    assert!(!html.contains("<script>alert") && !html.contains("<img"));
    for link in page.values("href") {
        assert!(
            link.starts_with("./")
                || link.starts_with('#')
                || link == "data:,"
                || link == "results.json",
            "{link}"
        );
    }
    assert!(page.values("src").is_empty());
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "the page needs the network"
    );
}

#[test]
fn each_verdict_has_its_sentence() {
    let sentence = |verdict: Verdict| {
        let run = super::Run {
            verdict,
            ..sample::run(2_000)
        };
        let page = read(&page(&run));
        (page.text, run.availability.operations.total())
    };
    let (text, total) = sentence(Verdict::valid());
    let total = crate::report::text::count(total);
    assert!(text.contains(&format!(
        "Valid. No anomaly in {total} operations through 2 faults; service was back within"
    )));
    assert!(!text.contains("Anomalies"));
    let (text, _) = sentence(Verdict::unknown("the search ran out of memory."));
    assert!(text.contains("Unknown. It could not be told whether"));
    assert!(text.contains("were right: the search ran out of memory; service"));
}

#[test]
fn late_service_and_faults_without_proof_are_called_so() {
    let mut run = sample::run(2_000);
    run.verdict = Verdict::valid();
    run.faults[0].proof.clear();
    // Ended when service was still away for six seconds.
    run.faults[1].end_ns = 35_000_000_000;
    run.availability = Availability::measure(&run.history, &run.faults);
    let page = read(&page(&run));
    assert!(page.text.contains(
        "service came back too late after 1 fault; 1 fault cannot be shown to have happened."
    ));
    assert!(page.text.contains("Nothing shows that it happened."));
    assert!(page.text.contains("too long"));
    assert!(page.values("class").contains(&"number late"));
    assert!(page.values("class").contains(&"verdict unknown"));
}

#[test]
fn a_run_in_which_nothing_happened_has_a_page() {
    let mut run = sample::run(2_000);
    run.history = History::default();
    run.faults.clear();
    run.nemeses.clear();
    run.verdict = Verdict::unknown("there is nothing to judge");
    run.availability = Availability::measure(&run.history, &run.faults);
    assert_eq!(run.verdict.validity, Validity::Unknown);
    let page = read(&page(&run));
    assert!(page.text.contains("0 operations without faults"));
    assert!(page.text.contains("No fault was injected."));
}
