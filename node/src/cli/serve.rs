//! `yunbase serve`: runs one node until it is told to stop.

use std::io::{ErrorKind, IsTerminal as _};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use yunbase_consensus::LogError;

use super::config;
use super::exit::Exit;
use crate::cluster::join::JoinRefused;
use crate::cluster::standing::WasRemoved;
use crate::config::{Config, LogFormat};
use crate::identity::LogLost;
use crate::node::Node;
use crate::threads;
use crate::tls::TlsError;

/// How long the end of the process may wait for threads of RocksDB, which may wait for a disk that does not answer.
const EXIT_MAX: Duration = Duration::from_millis(500);

/// The `serve` command.
pub fn command() -> Command {
    config::with_flags(Command::new("serve").about("Run one node")).arg(
        Arg::new("exit-with-parent")
            .long("exit-with-parent")
            .action(ArgAction::SetTrue)
            .hide(true)
            .help("stop when the process that started this one ends"),
    )
}

/// Runs the node.
pub fn run(matches: &ArgMatches) -> Exit {
    let config = match config::layers(matches).and_then(|layers| Config::from_layers(&layers)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    if matches.get_flag("exit-with-parent")
        && let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)
    {
        eprintln!("error: follow the parent process: {error}");
        return Exit::Failed;
    }
    start_logging(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .thread_name("yunbase")
        .worker_threads(threads::doors())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "start the runtime");
            return Exit::Failed;
        }
    };
    runtime.block_on(async {
        match serve(config).await {
            Ok(()) => Exit::Ok,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the node cannot go on");
                exit_of(&error)
            }
        }
    })
}

/// Tells supervisors what a restart will not mend.
fn exit_of(error: &anyhow::Error) -> Exit {
    let log_lost = matches!(
        error.downcast_ref(),
        Some(LogLost::Lost { .. } | LogLost::Foreign { .. })
    );
    if error.is::<WasRemoved>() || log_lost {
        return Exit::Unsafe;
    }
    if error.is::<JoinRefused>() {
        return Exit::Auth;
    }
    if matches!(error.downcast_ref(), Some(TlsError::Token(_))) {
        return Exit::Usage;
    }
    let io_error = error.downcast_ref::<std::io::Error>();
    let log_error = io_error
        .and_then(|error| error.get_ref())
        .and_then(|inner| inner.downcast_ref::<LogError>());
    if log_error.is_some_and(LogError::forbids_start) {
        return Exit::Unsafe;
    }
    match io_error.map(std::io::Error::kind) {
        Some(ErrorKind::ResourceBusy | ErrorKind::AddrInUse) => Exit::Conflict,
        _ => Exit::Failed,
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Listened for before the start, so that a stop during a long start is not lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancelled = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let Some(node) = Node::start(config, cancelled).await? else {
        return Ok(());
    };
    let reason = tokio::select! {
        _ = interrupt.recv() => "interrupt",
        _ = terminate.recv() => "terminate",
        failure = node.failed() => {
            tracing::error!(failure, "the node ends: its storage has failed; what it has acknowledged is in the logs of a majority");
            end_as_it_is();
        }
    };
    tracing::info!(reason, "stopping");
    node.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Ends the process without closing anything: a database that is closed flushes what it holds, and on a disk that has
/// failed RocksDB tries that again every second. Nothing is lost with it that the logs do not have.
fn end_as_it_is() -> ! {
    std::thread::spawn(|| {
        std::thread::sleep(EXIT_MAX);
        // Nothing is left to do if even that fails.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    });
    std::process::exit(Exit::Failed as i32)
}

/// To `s3s` every request that is refused is an error, and at `debug` it writes down signatures. The S3 port says itself
/// what matters.
const S3S_IS_SILENT: &str = "s3s=off";

fn start_logging(config: &Config) {
    let mut filter =
        EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    if let Ok(directive) = S3S_IS_SILENT.parse() {
        filter = filter.add_directive(directive);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
