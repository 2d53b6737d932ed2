//! HTTP/1.1 with as little work as possible: whoever asks shares the cores with what is measured.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request as it goes over the wire.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A question as it goes over the wire.
pub(crate) fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes()
}

/// A connection that stays open, one request after the other.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::with_capacity(64 << 10) }
    }

    /// Sends a request and answers the status once the whole answer has arrived.
    pub(crate) async fn send(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.read.clear();
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await;
        };
        let head = std::str::from_utf8(&self.read[..end]).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let (status, length) = (head[9..12].parse().unwrap(), length.map_or(0, |text| text.parse().unwrap()));
        while self.read.len() < end + length {
            self.more().await;
        }
        status
    }

    /// The body of the latest answer.
    pub(crate) fn body(&self) -> &str {
        let end = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        std::str::from_utf8(&self.read[end + 4..]).unwrap()
    }

    async fn more(&mut self) {
        let count = self.stream.read_buf(&mut self.read).await.unwrap();
        assert_ne!(count, 0, "the host hung up");
    }
}
