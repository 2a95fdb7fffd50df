//! One question to a node over plain HTTP: is it ready?

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for each step.
const STEP_MAX: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Asks `GET /readyz`; an error tells why it is not.
pub(super) fn ready(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Err(io::Error::other(body.trim().to_owned()))
}
