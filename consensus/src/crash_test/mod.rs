//! A child process is aborted at each crash point; a second child finds what it left and must agree
//! with a model: nothing acknowledged is lost, nothing is applied twice, and work goes on.
//!
//! The children are this test binary itself, started with a folder in the environment. It is started
//! through /proc, since a build may replace its file while the test runs.

mod child;
mod install;
mod single_node;

use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::crash_point::{CrashPoint, VARIABLE};

/// Tells a process that it is a child, and where to work.
const CHILD_DIR: &str = "YUNBASE_CRASH_TEST_DIR";

/// Runs the test `child` of this binary as a process of its own.
fn run(child: &str, dir: &Path, crash_point: Option<&str>) -> ExitStatus {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", child, "--quiet"])
        .env(CHILD_DIR, dir)
        .env_remove(VARIABLE);
    if let Some(armed) = crash_point {
        command.env(VARIABLE, armed);
    }
    let output = command.output().unwrap();
    if !output.status.success() && crash_point.is_none() {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status
}

fn is_abort(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(6)
}

/// The points that a single node passes while it writes, applies, snapshots and purges, and the
/// passes at which to abort.
const WRITING: &[(CrashPoint, &[u32])] = &[
    (CrashPoint::AppendBeforeWrite, &[1, 17]),
    (CrashPoint::AppendBeforeSync, &[2, 18]),
    (CrashPoint::AppendAfterSync, &[1, 19]),
    (CrashPoint::VoteBeforeWrite, &[1]),
    (CrashPoint::VoteBeforeSync, &[2]),
    (CrashPoint::VoteAfterSync, &[1, 2]),
    (CrashPoint::PurgeBeforeWrite, &[1]),
    (CrashPoint::PurgeAfterWrite, &[1]),
    (CrashPoint::ApplyBefore, &[2, 23]),
    (CrashPoint::ApplyAfter, &[1, 24]),
    (CrashPoint::BuildAfterCheckpoint, &[1]),
    (CrashPoint::BuildBeforeManifest, &[2]),
    (CrashPoint::BuildBeforeRename, &[1]),
];

#[test]
fn nothing_acknowledged_is_lost_at_any_point_of_writing() {
    std::thread::scope(|scope| {
        // Two at a time: the children wait for the disk more than they compute.
        for half in WRITING.chunks(WRITING.len().div_ceil(2)) {
            scope.spawn(move || {
                for (point, passes) in half {
                    passes.iter().for_each(|n| crash(*point, *n));
                }
            });
        }
    });
}

fn crash(point: CrashPoint, pass: u32) {
    let dir = tempfile::tempdir().unwrap();
    let child = "crash_test::child::work";
    let status = run(child, dir.path(), Some(&format!("{}:{pass}", point.name())));
    assert!(
        is_abort(status),
        "{}:{pass} was not reached: {status}",
        point.name()
    );
    let status = run(child, dir.path(), None);
    assert!(status.success(), "after {}:{pass}: {status}", point.name());
}

#[test]
fn an_install_is_all_or_nothing_at_any_point() {
    for point in [
        CrashPoint::InstallAfterStaging,
        CrashPoint::InstallBeforeRestore,
        CrashPoint::InstallAfterRestore,
    ] {
        let dir = tempfile::tempdir().unwrap();
        install::prepare(dir.path());
        let status = run(
            "crash_test::install::receive",
            dir.path(),
            Some(point.name()),
        );
        assert!(
            is_abort(status),
            "{} was not reached: {status}",
            point.name()
        );
        install::check(dir.path(), point);
        let status = run("crash_test::install::receive", dir.path(), None);
        assert!(status.success(), "after {}: {status}", point.name());
    }
}

#[test]
fn every_point_is_tested() {
    let installing = CrashPoint::ALL.len() - WRITING.len();
    assert_eq!(installing, 3, "a crash point without a test");
}
