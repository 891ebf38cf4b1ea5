//! One request from loopback, as a probe does it.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{HarnessError, Result};

const LIMIT: Duration = Duration::from_secs(5);

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The text of the body.
    pub body: String,
}

/// Asks `127.0.0.1:<port>`.
///
/// # Errors
/// Nobody listens, or what came is no answer within 5 s.
pub async fn get(port: u16, path: &str) -> Result<Answer> {
    ask(port, &format!("GET {path}"), &[], "").await
}

/// Sends a body to `127.0.0.1:<port>`.
///
/// # Errors
/// As [`get`].
pub async fn post(port: u16, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    ask(port, &format!("POST {path}"), headers, body).await
}

async fn ask(port: u16, what: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let failed = |why: String| HarnessError::Input(format!("{what} at 127.0.0.1:{port}: {why}"));
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // An answer to HTTP/1.0 is never chunked and ends with the connection.
    let request = format!("{what} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
    let text = timeout(LIMIT, exchange(port, &request)).await.map_err(|_| failed(format!("no answer within {} s", LIMIT.as_secs())))?;
    let text = text.map_err(|error| failed(error.to_string()))?;
    parse(&text).ok_or_else(|| failed(format!("not HTTP: {text:?}")))
}

async fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        for (text, answer) in [
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", Some((200, "hi"))),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some((503, ""))),
            ("HTTP/1.1 503", None),
            ("", None),
        ] {
            assert_eq!(parse(text), answer.map(|(status, body)| Answer { status, body: body.to_owned() }), "{text}");
        }
    }
}
