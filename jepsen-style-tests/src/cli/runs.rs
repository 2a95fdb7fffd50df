//! The commands that run clusters.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jepsen_style_tests::check::Validity;
use jepsen_style_tests::cluster::Mode;
use jepsen_style_tests::plan::{MUTANTS, Pair, SUITE, rotation};
use jepsen_style_tests::report::summary::{self, Line};
use jepsen_style_tests::report::{Run, availability::Availability};
use jepsen_style_tests::run::{RunOptions, judge_history, run};
use jepsen_style_tests::{nemesis, workload};

use super::{Common, RunArguments, simulate};

/// How often a run of the short suite may be late before it counts as failed.
const LOOKS_MAX: usize = 3;
/// What one seed of the short suite is; it is the same each time, so that a failure repeats.
const SUITE_SEED: u64 = 20;

impl Common {
    fn mode(&self) -> Mode {
        match self.loopback {
            true => Mode::Loopback,
            false => Mode::best(),
        }
    }

    fn binary(&self) -> anyhow::Result<PathBuf> {
        if let Some(binary) = &self.binary {
            return Ok(binary.clone());
        }
        let own = std::env::current_exe().context("find this program")?;
        let beside = own.with_file_name("yunbase");
        match beside.exists() {
            true => Ok(beside),
            false => bail!(
                "there is no yunbase beside this program: cargo build --release -p yunbase, or name one with --binary"
            ),
        }
    }

    fn options(&self, pair: &Pair, seed: u64, out: PathBuf) -> anyhow::Result<RunOptions> {
        Ok(RunOptions {
            workload: pair.workload.to_owned(),
            nemeses: pair.nemeses.iter().map(|name| (*name).to_owned()).collect(),
            nodes: pair.nodes,
            clients: self.clients,
            time: pair.time,
            seed,
            out,
            mode: self.mode(),
            binary: self.binary()?,
            mutant: None,
        })
    }
}

/// Carries a run out, with a live line where somebody watches.
fn carry_out(options: &RunOptions) -> anyhow::Result<Run> {
    let is_watched = std::io::stderr().is_terminal();
    let progress = |line: &str| {
        if is_watched {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            outcome = run(options, &progress) => Ok(outcome?),
            // What is dropped here cleans up after itself.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    if is_watched {
        eprint!("\r\x1b[K");
    }
    outcome
}

fn tell(run: &Run, out: &Path) {
    let counts = run.availability.operations;
    println!(
        "{:<8} {:<12} {:<40} seed {:<6} {:>6} ok {:>5} fail {:>4} info  {}",
        run.verdict.validity.word(),
        run.workload,
        run.nemeses.join(","),
        run.seed,
        counts.ok,
        counts.fail,
        counts.info,
        out.join("report.html").display(),
    );
    for anomaly in run.verdict.anomalies.iter().take(5) {
        println!("    {}: {}", anomaly.name, anomaly.explanation);
    }
    for note in run.verdict.notes.iter().take(5) {
        println!("    {note}");
    }
}

/// `run`
pub(super) fn one(arguments: RunArguments) -> anyhow::Result<bool> {
    let common = &arguments.common;
    let options = RunOptions {
        workload: arguments.workload,
        nemeses: arguments.nemesis,
        nodes: arguments.nodes,
        clients: common.clients,
        time: Duration::from_secs(arguments.time),
        seed: arguments.seed,
        out: common.out.clone(),
        mode: common.mode(),
        binary: common.binary()?,
        mutant: arguments.mutant,
    };
    let run = carry_out(&options)?;
    tell(&run, &options.out);
    Ok(run.verdict.validity == Validity::Valid)
}

/// `suite`
pub(super) fn suite(common: &Common) -> anyhow::Result<bool> {
    let mut passed = 0;
    for (at, pair) in SUITE.iter().enumerate() {
        let out = common.out.join(format!("{:02}-{}", at + 1, pair.workload));
        let mut options = common.options(pair, SUITE_SEED + at as u64, out)?;
        // Without root what happens between hosts and to disks cannot be; what is left still proves something.
        options
            .nemeses
            .retain(|name| is_possible(name, options.mode));
        let mut run = carry_out(&options)?;
        tell(&run, &options.out);
        for _ in 1..LOOKS_MAX {
            if !is_only_late(&run) {
                break;
            }
            std::fs::remove_dir_all(&options.out)?;
            run = carry_out(&options)?;
            tell(&run, &options.out);
        }
        passed += usize::from(run.verdict.validity == Validity::Valid);
    }
    let failed = SUITE.len() - passed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {passed} passed; {failed} failed; the reports are in {}",
        common.out.display()
    );
    Ok(passed == SUITE.len())
}

/// Whether nothing is wrong but that service came back late, which a machine that is busy with something else does too.
fn is_only_late(run: &Run) -> bool {
    let anomalies = &run.verdict.anomalies;
    !anomalies.is_empty()
        && anomalies
            .iter()
            .all(|anomaly| anomaly.name.starts_with("slow "))
}

fn is_possible(name: &str, mode: Mode) -> bool {
    nemesis::by_name(name).is_some_and(|nemesis| {
        let needs = nemesis.needs();
        needs.available().is_ok() && (mode == Mode::Namespaces || !needs.namespaces)
    })
}

/// What earlier soaks into the same folder came to.
fn kept_lines(file: &Path) -> anyhow::Result<Vec<Line>> {
    match std::fs::read(file) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// `soak`: goes on where an earlier one into the same folder ended.
pub(super) fn soak(minutes: u64, seed: u64, time: u64, common: &Common) -> anyhow::Result<bool> {
    let workloads: Vec<String> = workload::all()
        .iter()
        .map(|one| one.name().to_owned())
        .collect();
    let nemeses: Vec<String> = nemesis::all()
        .iter()
        .map(|one| one.name().to_owned())
        .filter(|name| is_possible(name, common.mode()))
        .collect();
    std::fs::create_dir_all(&common.out)?;
    let kept = common.out.join("lines.json");
    let mut lines = kept_lines(&kept)?;
    // Seeds that the folder has seen would only repeat what is known.
    let first = lines.iter().map(|line| line.seed + 1).max();
    let began = Instant::now();
    let mut all_valid = true;
    for seed in first.unwrap_or(seed).max(seed).. {
        if began.elapsed() >= Duration::from_secs(minutes * 60) {
            break;
        }
        let (workload, chosen) = rotation(seed, &workloads, &nemeses);
        let name = format!("{seed:05}-{workload}");
        let usual = if seed % 4 == 3 { 5 } else { 3 };
        let needed = chosen
            .iter()
            .filter_map(|name| nemesis::by_name(name))
            .map(|nemesis| nemesis.needs().nodes_min);
        let pair = Pair {
            workload: "",
            nemeses: &[],
            nodes: needed.fold(usual, usize::max),
            time: Duration::from_secs(time),
        };
        let mut options = common.options(&pair, seed, common.out.join(&name))?;
        options.workload = workload.to_owned();
        options.nemeses = chosen;
        let run = carry_out(&options)?;
        tell(&run, &options.out);
        all_valid &= run.verdict.validity == Validity::Valid;
        lines.push(Line::of(&run, name));
        std::fs::write(&kept, serde_json::to_vec(&lines)?)?;
        std::fs::write(common.out.join("summary.md"), summary::markdown(&lines))?;
        std::fs::write(common.out.join("index.html"), summary::page("Soak", &lines))?;
        // What a run has left on disk is only of use when it went wrong.
        if run.verdict.validity == Validity::Valid {
            std::fs::remove_dir_all(options.out.join("nodes"))?;
        }
    }
    println!("{}", summary::markdown(&lines));
    Ok(all_valid)
}

/// `mutants`
pub(super) fn mutants(only: &[String], common: &Common) -> anyhow::Result<bool> {
    let mut missed = 0;
    for mutant in MUTANTS {
        if !only.is_empty() && !only.iter().any(|name| name == mutant.name) {
            continue;
        }
        let Some(pair) = &mutant.caught_by else {
            let caught = simulate::catches(mutant)?;
            missed += usize::from(caught.is_none());
            let verdict = if caught.is_some() { "caught" } else { "MISSED" };
            let by = caught.unwrap_or_else(|| "nothing".to_owned());
            println!("{verdict} {:<28} by {by}", mutant.name);
            continue;
        };
        let mut options = common.options(pair, 1, common.out.join(mutant.name))?;
        options.mutant = Some(mutant.name.to_owned());
        let run = carry_out(&options)?;
        let is_caught = run.verdict.validity == Validity::Invalid;
        let by = run
            .verdict
            .anomalies
            .first()
            .map_or("nothing", |anomaly| &anomaly.name);
        let verdict = if is_caught { "caught" } else { "MISSED" };
        println!("{verdict} {:<28} by {by}", mutant.name);
        if !is_caught {
            tell(&run, &options.out);
            missed += 1;
        }
    }
    Ok(missed == 0)
}

/// `render`
pub(super) fn render(folder: &Path) -> anyhow::Result<bool> {
    let mut run = Run::read(folder)?;
    let workload = workload::by_name(&run.workload)
        .with_context(|| format!("there is no workload '{}'", run.workload))?;
    run.verdict = judge_history(&*workload, &run.history);
    run.availability = Availability::measure(&run.history, &run.faults);
    run.render(folder)?;
    tell(&run, folder);
    Ok(run.verdict.validity == Validity::Valid)
}
