//! Starting a development cluster and waiting until every node is ready.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use yunbase_client::auth::Credentials;
use yunbase_client::proto::JoinTokenRequest;

use super::layout::{Addresses, DevJson, DevNode, Layout, Operator, Settings};
use super::process::{self, Lifetime};
use super::{Problem, StartArgs};
use crate::cli::exit::Exit;
use crate::cli::management::Management;
use crate::cli::output::line;
use crate::durable_file;

const DEFAULT_PORT: u16 = 7600;
/// Name of the first operator, an owner.
const OPERATOR: &str = "root";
/// Longest a node may take to become ready: it may have a long log to apply.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);
/// Longest wait for node 1 to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs `yunbase dev`.
pub(super) async fn run(args: StartArgs) -> Result<Exit, Problem> {
    if args.functions.is_some() {
        return Err(Problem::new(
            Exit::Usage,
            "--functions: cloud functions are not part of this version yet",
        ));
    }
    let layout = Layout::new(&args.dir)?;
    let settings = settings(&layout, &args)?;
    if let Some(k) = (1..=settings.nodes).find(|k| process::running(&layout, *k).is_some()) {
        return Err(Problem::new(
            Exit::Conflict,
            format!(
                "node {k} of {} is running; stop it with `yunbase dev stop --dir {}`",
                layout.path().display(),
                args.dir.display()
            ),
        ));
    }
    let lifetime = if args.detach {
        Lifetime::Detached
    } else {
        Lifetime::WithParent
    };
    let started = start_all(&layout, &settings, &args.env, lifetime).await;
    let json = match started {
        Ok(json) => json,
        Err(problem) => {
            process::stop(&layout, 1..=settings.nodes);
            return Err(problem);
        }
    };
    announce(&layout, &json);
    if args.detach {
        return Ok(Exit::Ok);
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("stopping; data is kept in {}", layout.path().display());
    process::stop(&layout, 1..=settings.nodes);
    if settings.ephemeral {
        std::fs::remove_dir_all(layout.path())?;
    }
    Ok(Exit::Ok)
}

/// The settings of the folder, fresh or as it was first used.
fn settings(layout: &Layout, args: &StartArgs) -> Result<Settings, Problem> {
    let Some(present) = layout.settings()? else {
        let settings = Settings::new(
            args.port.unwrap_or(DEFAULT_PORT),
            args.nodes.unwrap_or(1),
            args.ephemeral,
        );
        if Addresses::of(settings.port, settings.nodes).is_none() {
            return Err(Problem::new(
                Exit::Usage,
                "the ports of all nodes must stay below 65536",
            ));
        }
        layout.store(&settings)?;
        return Ok(settings);
    };
    // Members know each other by these addresses, so a folder keeps what it began with.
    if args.nodes.is_some_and(|nodes| nodes != present.nodes)
        || args.port.is_some_and(|port| port != present.port)
    {
        return Err(Problem::new(
            Exit::Conflict,
            format!(
                "{} holds {} nodes from port {}; start it so, or choose another --dir",
                layout.path().display(),
                present.nodes,
                present.port
            ),
        ));
    }
    Ok(present)
}

async fn start_all(
    layout: &Layout,
    settings: &Settings,
    env: &str,
    lifetime: Lifetime,
) -> Result<DevJson, Problem> {
    let mut nodes = Vec::new();
    let mut token = None;
    for k in 1..=settings.nodes {
        let addresses = addresses(settings, k)?;
        std::fs::create_dir_all(layout.node(k))?;
        if k == 2 && !joined(layout, settings.nodes) {
            token = Some(join_token(layout, settings).await?);
        }
        write_config(layout, settings, k, env, token.as_deref())?;
        let pid = process::start(layout, k, lifetime)?;
        if token.is_some() {
            wait_joined(layout, k).await?;
        }
        nodes.push(DevNode {
            id: k,
            pid,
            http: addresses.http,
            peer: addresses.peer,
            s3: addresses.s3,
            dir: layout.node(k).display().to_string(),
        });
    }
    for k in 1..=settings.nodes {
        wait_ready(layout, settings, k).await?;
    }
    let json = DevJson {
        version: 1,
        env: env.to_owned(),
        http: nodes
            .iter()
            .map(|node| format!("http://{}", node.http))
            .collect(),
        s3: nodes
            .iter()
            .map(|node| format!("http://{}", node.s3))
            .collect(),
        secret_id: settings.secret_id.clone(),
        secret_key: settings.secret_key.clone(),
        operator: Operator {
            username: OPERATOR.to_owned(),
            password: settings.operator_password.clone(),
        },
        nodes,
    };
    json.write(layout)?;
    Ok(json)
}

fn addresses(settings: &Settings, k: u16) -> Result<Addresses, Problem> {
    Addresses::of(settings.port, k)
        .ok_or_else(|| Problem::new(Exit::Usage, "the ports of all nodes must stay below 65536"))
}

/// Whether all nodes have been members before, so that no token is needed.
fn joined(layout: &Layout, nodes: u16) -> bool {
    (2..=nodes).all(|k| layout.node(k).join("data").join("identity").exists())
}

/// Waits until node `k` has its id, so that ids follow the order of the nodes.
async fn wait_joined(layout: &Layout, k: u16) -> Result<(), Problem> {
    let given_up = Instant::now() + READY_TIMEOUT;
    while !layout.node(k).join("data").join("identity").exists() {
        if process::running(layout, k).is_none() || Instant::now() > given_up {
            let log = process::log_tail(layout, k);
            return Err(Problem::new(
                Exit::Failed,
                format!("node {k} did not join the cluster; its log says:\n{log}"),
            ));
        }
        tokio::time::sleep(READY_POLL).await;
    }
    Ok(())
}

/// Asks node 1 for the right to join. Only it runs at this moment, so it is also the leader.
async fn join_token(layout: &Layout, settings: &Settings) -> Result<String, Problem> {
    wait_ready(layout, settings, 1).await?;
    let url = format!("http://{}", addresses(settings, 1)?.http);
    let credentials = Credentials::SecretKey {
        secret_id: settings.secret_id.clone(),
        secret_key: settings.secret_key.clone(),
    };
    let unavailable = |status: tonic::Status| {
        Problem::new(
            Exit::Unavailable,
            format!("ask node 1 for a join token: {}", status.message()),
        )
    };
    let mut management = Management::connect(&url, credentials, ANSWER_TIMEOUT)
        .await
        .map_err(unavailable)?;
    let response = management
        .join_token(JoinTokenRequest {})
        .await
        .map_err(unavailable)?;
    Ok(response.token)
}

fn write_config(
    layout: &Layout,
    settings: &Settings,
    k: u16,
    env: &str,
    token: Option<&str>,
) -> Result<(), Problem> {
    let own = addresses(settings, k)?;
    let mut table = toml::Table::new();
    let mut set =
        |key: &str, value: String| table.insert(key.to_owned(), toml::Value::String(value));
    set(
        "data_dir",
        layout.node(k).join("data").display().to_string(),
    );
    set("http_address", own.http);
    set("peer_address", own.peer);
    set("s3_address", own.s3);
    if k == 1 {
        set("bootstrap_env", env.to_owned());
        set("bootstrap_secret_id", settings.secret_id.clone());
        set("bootstrap_secret_key", settings.secret_key.clone());
        set("bootstrap_operator", OPERATOR.to_owned());
        set(
            "bootstrap_operator_password",
            settings.operator_password.clone(),
        );
        set("replicas", settings.nodes.to_string());
    } else if let Some(token) = token {
        set("join_token", token.to_owned());
        set("join", addresses(settings, 1)?.peer);
    }
    table.insert("bootstrap".to_owned(), toml::Value::Boolean(k == 1));
    durable_file::write_bytes(&layout.node_config(k), table.to_string().as_bytes())?;
    Ok(())
}

/// Waits until node `k` says that it is ready; tells why when it ends or takes too long.
pub(super) async fn wait_ready(
    layout: &Layout,
    settings: &Settings,
    k: u16,
) -> Result<(), Problem> {
    let address = addresses(settings, k)?.http;
    let given_up = Instant::now() + READY_TIMEOUT;
    let mut last = "it does not answer".to_owned();
    loop {
        match tokio::time::timeout(PROBE_TIMEOUT, probe(&address)).await {
            Ok(Ok((200, _))) => return Ok(()),
            Ok(Ok((_, reason))) => last = reason,
            Ok(Err(_)) | Err(_) => {}
        }
        if process::running(layout, k).is_none() {
            return Err(Problem::new(
                Exit::Failed,
                format!(
                    "node {k} has ended; its log {} says:\n{}",
                    layout.node_log(k).display(),
                    process::log_tail(layout, k)
                ),
            ));
        }
        if Instant::now() > given_up {
            return Err(Problem::new(
                Exit::Unavailable,
                format!(
                    "node {k} is not ready after {} s: {last}",
                    READY_TIMEOUT.as_secs()
                ),
            ));
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// One `GET /readyz`: status and body.
async fn probe(address: &str) -> std::io::Result<(u16, String)> {
    const ANSWER_BYTES_MAX: u64 = 64 << 10;
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await?;
    let mut answer = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .await?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.trim().to_owned()))
}

fn announce(layout: &Layout, json: &DevJson) {
    for url in &json.http {
        line(format_args!("{url}"));
    }
    eprintln!(
        "environment `{}` is ready; keys and addresses: {}",
        json.env,
        layout.dev_json().display()
    );
}
