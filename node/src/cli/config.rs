//! `yunbase config explain`, and the flags that every configuration key is.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::exit::Exit;
use super::output::line;
use crate::config::{Config, ConfigError, KEYS, Layers, Source};

/// Adds `--config` and one flag for each configuration key.
pub fn with_flags(command: Command) -> Command {
    let command = command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("YUNBASE_CONFIG")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file of configuration keys"),
    );
    KEYS.iter().fold(command, |command, key| {
        command.arg(
            Arg::new(key.name)
                .long(key.flag())
                .value_name("VALUE")
                .action(ArgAction::Set)
                .hide_default_value(true)
                .help(key.help),
        )
    })
}

/// The layers that the command line, the environment and the file make.
pub fn layers(matches: &ArgMatches) -> Result<Layers, ConfigError> {
    let mut layers = Layers::defaults();
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        layers = layers.with_file(path)?;
    }
    layers = layers.with_environment(|name| std::env::var(name).ok())?;
    for key in KEYS {
        if let Some(value) = matches.get_one::<String>(key.name) {
            layers.set(key.name, value.clone(), Source::Flag)?;
        }
    }
    Ok(layers)
}

/// The `config` command.
pub fn command() -> Command {
    let explain = with_flags(
        Command::new("explain")
            .about("Print every configuration key, its value and where it came from"),
    )
    .arg(
        Arg::new("output")
            .short('o')
            .value_parser(["table", "json"])
            .default_value("table")
            .help("form of the result"),
    );
    Command::new("config")
        .about("Look at the configuration of a node")
        .subcommand_required(true)
        .subcommand(explain)
}

/// Runs `config explain`.
pub fn explain(matches: &ArgMatches) -> Exit {
    let layers = match layers(matches) {
        Ok(layers) => layers,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    let lines = layers.explain();
    if matches
        .get_one::<String>("output")
        .is_some_and(|form| form == "json")
    {
        match serde_json::to_string_pretty(&lines) {
            Ok(text) => line(format_args!("{text}")),
            Err(error) => {
                eprintln!("error: {error}");
                return Exit::Failed;
            }
        }
    } else {
        for key in &lines {
            line(format_args!(
                "{:<26} {:<28} {:<12} {}",
                key.name, key.value, key.source, key.help
            ));
        }
    }
    match Config::from_layers(&layers) {
        Ok(_) => Exit::Ok,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Usage
        }
    }
}
