//! The table of configuration keys: the one place where names, defaults and their reasons stand.

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Its name in the TOML file; the flag and the variable follow from it.
    pub name: &'static str,
    /// The default, in the form that the file would carry.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Never printed or logged.
    pub secret: bool,
}

impl Key {
    /// The environment variable of this key.
    pub fn variable(&self) -> String {
        format!("YUNBASE_{}", self.name.to_uppercase())
    }

    /// The command line flag of this key, without dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
        secret: false,
    }
}

const fn secret(name: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default: "",
        help,
        secret: true,
    }
}

/// Every key of a node.
pub const KEYS: &[Key] = &[
    key(
        "data_dir",
        "/var/lib/yunbase",
        "folder of all durable state; one process at a time",
    ),
    key(
        "http_address",
        "127.0.0.1:7600",
        "where HTTP and public gRPC listen",
    ),
    key(
        "peer_address",
        "127.0.0.1:7601",
        "where the other nodes connect (mutual TLS)",
    ),
    key(
        "s3_address",
        "127.0.0.1:7602",
        "where S3 clients connect; empty = no S3 port",
    ),
    key(
        "http_advertise",
        "",
        "address that clients are told; empty = http_address",
    ),
    key(
        "peer_advertise",
        "",
        "address that the other nodes are told; empty = peer_address",
    ),
    key(
        "bootstrap",
        "false",
        "found a new cluster when the data folder is empty",
    ),
    key(
        "join",
        "",
        "peer addresses of members to join through when the data folder is empty",
    ),
    secret(
        "join_token",
        "right to join, from `yunbase cluster token` on a member",
    ),
    key(
        "groups",
        "8",
        "data groups of a new cluster, 1 to 64; fixed for its life",
    ),
    key(
        "replicas",
        "3",
        "copies of each data group: 1, 3 or 5; fewer while there are fewer nodes",
    ),
    key(
        "zone",
        "",
        "failure domain of this node; replicas are spread over zones",
    ),
    key(
        "bootstrap_env",
        "",
        "environment to create when it is missing",
    ),
    key(
        "bootstrap_secret_id",
        "",
        "public half of a secret key to create when it is missing",
    ),
    secret("bootstrap_secret_key", "secret half of that key"),
    key(
        "bootstrap_operator",
        "",
        "operator to create as an owner while there is none at all",
    ),
    secret("bootstrap_operator_password", "password of that operator"),
    // A year: long enough to look into what happened before the last audit.
    key(
        "audit_retention_days",
        "365",
        "days for which the audit logs keep entries, 1 to 36500",
    ),
    key(
        "log_level",
        "info,openraft=error",
        "filter for log lines, for example `info,yunbase_consensus=debug,openraft=warn`",
    ),
    key("log_format", "text", "`text` or `json`"),
    // Two small caches keep an idle node small; a server with memory to spare raises the first.
    key(
        "block_cache_mib",
        "64",
        "cache of database blocks, shared by all groups",
    ),
    key(
        "write_buffer_mib",
        "64",
        "bound on database write buffers, shared by all groups",
    ),
    // Above what the log may take within the second between two looks, and twice what is in memory and must be flushed.
    key(
        "disk_reserve_mib",
        "256",
        "free space of the data folder's disk below which writes are refused, until there is more; 0 = never",
    ),
    key(
        "chunk_dirs",
        "",
        "folders for the contents of files, one on each disk; empty = `chunks` in the data folder",
    ),
    key("chunk_cache_mib", "64", "cache of the contents of files"),
    // Deletions and compaction need some room to make room again.
    key(
        "chunk_reserve_mib",
        "1024",
        "free space of a disk for chunks below which it takes no new ones",
    ),
    // Longer than any upload takes: what an upload has stored is named by nothing until it ends.
    key(
        "chunk_grace_s",
        "86400",
        "how long chunks that no file names are kept; longer than any upload takes",
    ),
    key(
        "chunk_pin_lease_s",
        "3600",
        "how long chunks are kept for an upload that is not heard of; nothing is collected for as long after a start",
    ),
    key(
        "chunk_collect_interval_s",
        "3600",
        "pause between two searches for chunks that no file names",
    ),
    key(
        "chunk_audit_interval_s",
        "600",
        "pause between two searches for missing copies of chunks",
    ),
    key(
        "file_retention_s",
        "604800",
        "how long deleted files can be restored; 0 = not at all",
    ),
    key(
        "concurrent_requests_max",
        "4096",
        "most requests in progress; more are answered EXCEED_CONCURRENT_REQUEST_LIMIT",
    ),
    key(
        "connections_max",
        "8192",
        "most open client connections; more wait in the kernel's queue",
    ),
    // Believing anybody's X-Forwarded-For would let a stranger choose the address that failed sign-ins are counted for.
    key(
        "trusted_proxies",
        "127.0.0.1,::1",
        "addresses or networks of proxies whose X-Forwarded-For is believed",
    ),
    key("body_mib_max", "16", "largest request body"),
    key(
        "cors_origins",
        "*",
        "web pages that may call from a browser, as origins such as https://app.example.com; `*` = all",
    ),
    // Below the 15 s at which the official clients give up, so that they get an answer.
    key(
        "request_timeout_ms",
        "12000",
        "longest a request waits for a leader or a quorum",
    ),
    key(
        "drain_timeout_ms",
        "5000",
        "time to finish requests and hand over leadership at a stop",
    ),
    // A leader's death must be over within 3 s. A follower doubts its leader after election_max of silence, its
    // lease, and stands for election a random election_min to election_max later: at most 1.8 s, then a vote.
    key(
        "raft_heartbeat_ms",
        "200",
        "interval of a leader's heartbeats",
    ),
    key(
        "raft_election_min_ms",
        "450",
        "shortest wait before an election, from the end of the leader's lease",
    ),
    key(
        "raft_election_max_ms",
        "900",
        "longest such wait, and the length of the lease",
    ),
];
