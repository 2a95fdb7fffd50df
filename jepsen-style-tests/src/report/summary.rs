//! Many runs in one table: Markdown for a README, by workload and by nemesis, and `index.html` by both, with links to the
//! pages of the runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::Run;
use super::html::{document, link, tone, verdict_word};
use super::text;
use crate::check::Validity;

/// Links to runs of one row that are not valid, or that came back late.
const LINKS_MAX: usize = 10;

/// What is kept of a run when its history is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The run's folder, relative to the summary's.
    pub folder: String,
    /// What clients did.
    pub workload: String,
    /// What broke the cluster.
    pub nemeses: Vec<String>,
    /// What fixed the schedule.
    pub seed: u64,
    /// What the judges said.
    pub validity: Validity,
    /// How many operations there were.
    pub operations: u64,
    /// How many of them took effect.
    pub ok: u64,
    /// How many faults there were.
    pub faults: u64,
    /// How many of them service came back from too late.
    pub late: u64,
    /// The longest time without service.
    pub longest_gap_ns: u64,
    /// The slowest recovery from a single fault.
    pub slowest_recovery_ns: Option<u64>,
    /// The most that the death of a leader cost.
    pub slowest_failover_ns: Option<u64>,
}

impl Line {
    /// Of a run whose files are in `folder`, relative to the summary's.
    pub fn of(run: &Run, folder: impl Into<String>) -> Self {
        let figures = &run.availability;
        Self {
            folder: folder.into(),
            workload: run.workload.clone(),
            nemeses: run.nemeses.clone(),
            seed: run.seed,
            validity: run.verdict.validity,
            operations: figures.operations.total(),
            ok: figures.operations.ok,
            faults: run.faults.len() as u64,
            late: figures.late() as u64,
            longest_gap_ns: figures.longest_gap.map_or(0, |gap| gap.length_ns()),
            slowest_recovery_ns: figures.slowest_recovery_ns(),
            slowest_failover_ns: figures.slowest_failover_ns(),
        }
    }

    fn is_good(&self) -> bool {
        self.validity == Validity::Valid && self.late == 0
    }
}

/// Runs of the same workload under the same nemeses.
#[derive(Debug, Default)]
struct Row<'l> {
    runs: u64,
    operations: u64,
    faults: u64,
    valid: u64,
    unknown: u64,
    invalid: u64,
    late: u64,
    longest_gap_ns: u64,
    slowest_recovery_ns: Option<u64>,
    slowest_failover_ns: Option<u64>,
    bad: Vec<&'l Line>,
}

impl<'l> Row<'l> {
    fn add(&mut self, line: &'l Line) {
        self.runs += 1;
        self.operations += line.operations;
        self.faults += line.faults;
        match line.validity {
            Validity::Valid => self.valid += 1,
            Validity::Unknown => self.unknown += 1,
            Validity::Invalid => self.invalid += 1,
        }
        self.late += line.late;
        self.longest_gap_ns = self.longest_gap_ns.max(line.longest_gap_ns);
        self.slowest_recovery_ns = self.slowest_recovery_ns.max(line.slowest_recovery_ns);
        self.slowest_failover_ns = self.slowest_failover_ns.max(line.slowest_failover_ns);
        if !line.is_good() {
            self.bad.push(line);
        }
    }

    /// The figures behind the names, in the order of [`COLUMNS`].
    fn figures(&self) -> [String; 10] {
        let time = |nanoseconds: Option<u64>| nanoseconds.map_or("–".to_owned(), text::time);
        [
            text::count(self.runs),
            text::count(self.operations),
            text::count(self.faults),
            text::count(self.valid),
            text::count(self.unknown),
            text::count(self.invalid),
            text::count(self.late),
            text::time(self.longest_gap_ns),
            time(self.slowest_recovery_ns),
            time(self.slowest_failover_ns),
        ]
    }
}

/// The names of [`Row::figures`].
const COLUMNS: [&str; 10] = [
    "runs",
    "operations",
    "faults",
    "valid",
    "unknown",
    "not valid",
    "late",
    "longest gap",
    "slowest recovery",
    "slowest failover",
];

/// By workload and nemeses, and the sum of all.
fn rows(lines: &[Line]) -> (BTreeMap<(String, String), Row<'_>>, Row<'_>) {
    let mut rows: BTreeMap<_, Row<'_>> = BTreeMap::new();
    let mut all = Row::default();
    for line in lines {
        let nemeses = match line.nemeses.is_empty() {
            true => "none".to_owned(),
            false => line.nemeses.join(", "),
        };
        rows.entry((line.workload.clone(), nemeses))
            .or_default()
            .add(line);
        all.add(line);
    }
    (rows, all)
}

/// As two tables of Markdown, with the seeds of runs that are not as they should be below them. A run under several
/// nemeses counts for each of them.
pub fn markdown(lines: &[Line]) -> String {
    let mut by_workload: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    let mut by_nemesis: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    let mut all = Row::default();
    for line in lines {
        by_workload.entry(&line.workload).or_default().add(line);
        for nemesis in &line.nemeses {
            by_nemesis.entry(nemesis).or_default().add(line);
        }
        all.add(line);
    }
    let mut text = String::new();
    write_table(&mut text, "workload", &by_workload, Some(&all));
    if !by_nemesis.is_empty() {
        text.push('\n');
        write_table(&mut text, "nemesis", &by_nemesis, None);
    }
    if !all.bad.is_empty() {
        text.push('\n');
    }
    for line in &all.bad {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "- {}: `{}` under `{}`, seed {}, in `{}`",
            complaint(line),
            cell(&line.workload),
            cell(&line.nemeses.join(",")),
            line.seed,
            cell(&line.folder)
        );
    }
    text
}

fn write_table(
    text: &mut String,
    first: &str,
    rows: &BTreeMap<&str, Row<'_>>,
    all: Option<&Row<'_>>,
) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {first} | {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(COLUMNS.len()));
    for (name, row) in rows {
        let _ = writeln!(text, "| {} | {} |", cell(name), row.figures().join(" | "));
    }
    if let Some(all) = all {
        let _ = writeln!(text, "| **all** | {} |", all.figures().join(" | "));
    }
}

/// What is wrong with a run.
fn complaint(line: &Line) -> String {
    let (_, word) = verdict_word(line.validity);
    match (line.validity, line.late) {
        (Validity::Valid, late) => format!("Late after {}", text::plural(late, "fault")),
        (_, 0) => word.to_owned(),
        (_, late) => format!("{word}, and late after {}", text::plural(late, "fault")),
    }
}

/// Text in a cell of Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r', '`'], " ")
}

/// As a page that links to the pages of the runs.
pub fn page(title: &str, lines: &[Line]) -> String {
    let (rows, all) = rows(lines);
    let (class, word) = verdict_word(match (all.invalid, all.unknown, all.runs) {
        (0, 0, 1..) => Validity::Valid,
        (0, _, _) => Validity::Unknown,
        _ => Validity::Invalid,
    });
    let body = html! {
        header.verdict.(tone(class, all.late)) {
            p.kicker { (title) }
            h1 { span.word { (word) "." } " " (sentence(&all)) }
        }
        section aria-labelledby="all" {
            h2 id="all" { "By workload and nemesis" }
            div.scroll tabindex="0" role="region" aria-label="By workload and nemesis" {
                table.summary {
                    thead {
                        tr {
                            th scope="col" { "Workload" }
                            th scope="col" { "Nemeses" }
                            @for name in COLUMNS { th.number scope="col" { (name) } }
                        }
                    }
                    tbody {
                        @for ((workload, nemeses), row) in &rows { (html_row(workload, nemeses, row)) }
                        (html_row("all", "", &Row { bad: Vec::new(), ..all }))
                    }
                }
            }
        }
        section aria-labelledby="runs" {
            h2 id="runs" { "Runs" }
            ul.files {
                @for line in lines {
                    @let (class, word) = verdict_word(line.validity);
                    li {
                        (link(&format!("{}/report.html", line.folder)))
                        span.outcome.(class) { (word) }
                        @if line.late > 0 { " " span.late { "late" } }
                        div.soft { (line.workload) " under " (line.nemeses.join(", ")) ", seed " (line.seed) }
                    }
                }
            }
        }
    };
    document(title, &body, "")
}

fn sentence(all: &Row<'_>) -> String {
    let late = match all.late {
        0 => "service always came back in time".to_owned(),
        late => format!(
            "service came back too late after {}",
            text::plural(late, "fault")
        ),
    };
    format!(
        "{} of {} valid, {} not, {} unknown: {} through {}; {late}.",
        text::count(all.valid),
        text::plural(all.runs, "run"),
        text::count(all.invalid),
        text::count(all.unknown),
        text::plural(all.operations, "operation"),
        text::plural(all.faults, "fault"),
    )
}

fn html_row(workload: &str, nemeses: &str, row: &Row<'_>) -> Markup {
    html! {
        tr {
            th scope="row" { (workload) }
            td {
                (nemeses)
                @for line in row.bad.iter().take(LINKS_MAX) {
                    div.soft { (complaint(line)) ": " (link(&format!("{}/report.html", line.folder))) }
                }
                @if row.bad.len() > LINKS_MAX { div.soft { "and " (row.bad.len() - LINKS_MAX) " more" } }
            }
            @for (name, figure) in COLUMNS.iter().zip(row.figures()) {
                @let bad = ["unknown", "not valid", "late"].contains(name) && figure != "0";
                td.number.late[bad] { (figure) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::well_formed;
    use crate::report::sample;

    fn line(workload: &str, nemesis: &str, seed: u64, validity: Validity) -> Line {
        Line {
            folder: format!("{workload}-{seed}"),
            workload: workload.to_owned(),
            nemeses: vec![nemesis.to_owned()],
            seed,
            validity,
            operations: 1_000,
            ok: 900,
            faults: 2,
            late: 0,
            longest_gap_ns: seed * 1_000_000,
            slowest_recovery_ns: Some(seed * 2_000_000),
            slowest_failover_ns: None,
        }
    }

    fn lines() -> Vec<Line> {
        vec![
            line("register", "kill-leader", 7, Validity::Valid),
            line("bank", "pause", 3, Validity::Valid),
            line("register", "kill-leader", 90, Validity::Unknown),
            Line {
                late: 1,
                slowest_recovery_ns: Some(6_100_000_000),
                ..line("bank", "pause", 4, Validity::Valid)
            },
        ]
    }

    #[test]
    fn rows_sum_runs_of_a_kind() {
        let table = markdown(&lines());
        let expected = "\
| workload | runs | operations | faults | valid | unknown | not valid | late | longest gap | slowest recovery | slowest failover |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| bank | 2 | 2,000 | 4 | 2 | 0 | 0 | 1 | 4 ms | 6.1 s | – |
| register | 2 | 2,000 | 4 | 1 | 1 | 0 | 0 | 90 ms | 180 ms | – |
| **all** | 4 | 4,000 | 8 | 3 | 1 | 0 | 1 | 90 ms | 6.1 s | – |

| nemesis | runs | operations | faults | valid | unknown | not valid | late | longest gap | slowest recovery | slowest failover |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| kill-leader | 2 | 2,000 | 4 | 1 | 1 | 0 | 0 | 90 ms | 180 ms | – |
| pause | 2 | 2,000 | 4 | 2 | 0 | 0 | 1 | 4 ms | 6.1 s | – |

- Unknown: `register` under `kill-leader`, seed 90, in `register-90`
- Late after 1 fault: `bank` under `pause`, seed 4, in `bank-4`
";
        assert_eq!(table, expected);
    }

    #[test]
    fn the_page_is_well_formed_and_links_to_every_run() {
        let mut lines = lines();
        lines.push(Line::of(&sample::run(2_000), "runs/<5>"));
        lines[0].workload = sample::HOSTILE.to_owned();
        let html = page("soak of 60 minutes", &lines);
        if let Some(folder) = std::env::var_os("CHAOS_REPORT_EXAMPLE") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(std::path::Path::new(&folder).join("index.html"), &html).unwrap();
        }
        let page = well_formed::read(&html).unwrap();
        assert!(
            page.text
                .contains("Not valid. 3 of 5 runs valid, 1 not, 1 unknown")
        );
        assert!(page.text.contains("too late after 1 fault"));
        let links = page.values("href");
        assert!(links.contains(&"./register-7/report.html"));
        assert!(links.contains(&"./runs/%3C5%3E/report.html"));
        assert!(page.text.contains(sample::HOSTILE));
        assert_eq!(page.count("script"), 0);
    }

    #[test]
    fn no_runs_are_not_a_success() {
        let page = page("soak", &[]);
        assert!(page.contains("Unknown."));
        let text = serde_json::to_string(&lines()).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Line>>(&text).unwrap(), lines());
    }
}
