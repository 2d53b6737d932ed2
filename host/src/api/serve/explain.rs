//! Requests whose head cannot be read never reach the router: the HTTP library answers them itself, without a body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::MAX_HEAD_BYTES;
use crate::api::problem::Problem;

/// What such a client still sends is taken and dropped for this long, so that it reads the answer.
const LINGER: Duration = Duration::from_secs(2);
/// The same, in bytes.
const LINGER_BYTES: usize = 64 << 20;

/// Gives the library's bare answers a problem document.
#[derive(Debug)]
pub(super) struct Explained<S> {
    stream: S,
    /// What is written in place of a bare answer.
    pending: Vec<u8>,
    refused: Option<Refused>,
}

/// A connection that ends after its answer.
#[derive(Debug)]
struct Refused {
    is_shut: bool,
    dropped: usize,
    patience: Pin<Box<Sleep>>,
}

impl<S> Explained<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, pending: Vec::new(), refused: None }
    }

    /// Takes a bare answer; whether it was one.
    fn take(&mut self, head: &[u8]) -> bool {
        let Some(problem) = of_bare(head) else { return false };
        let document = problem.document();
        let status = problem.status();
        self.pending = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n{document}",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            document.len(),
        )
        .into_bytes();
        self.refused = Some(Refused { is_shut: false, dropped: 0, patience: Box::pin(tokio::time::sleep(LINGER)) });
        true
    }
}

/// What a bare answer of the library is about.
fn of_bare(head: &[u8]) -> Option<Problem> {
    let status = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    let problem = match status {
        b"431" => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            "Too large",
            format!("the request line and the headers have more than {MAX_HEAD_BYTES} bytes"),
        ),
        b"414" => Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", "Too large", "the request line is too long"),
        b"400" => Problem::bad_request("invalid-head", "the request line or a header is not HTTP"),
        _ => return None,
    };
    // What the router answers has a body.
    let is_bare = head.windows(BARE.len()).any(|part| part.eq_ignore_ascii_case(BARE));
    is_bare.then_some(problem)
}

const BARE: &[u8] = b"\r\ncontent-length: 0\r\n";

impl<S: AsyncWrite + Unpin> Explained<S> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        if self.take(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        if bufs.first().is_some_and(|head| self.take(head)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        let Self { stream, refused, .. } = &mut *self;
        let mut stream = Pin::new(stream);
        let Some(refused) = refused else { return stream.poll_shutdown(cx) };
        if !refused.is_shut {
            ready!(stream.as_mut().poll_shutdown(cx))?;
            refused.is_shut = true;
        }
        let mut bytes = [0; 8 << 10];
        while refused.dropped < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut bytes);
            match stream.as_mut().poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => refused.dropped += buf.filled().len(),
                // It has read the answer, or has gone.
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(refused.patience.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{Explained, of_bare};

    #[test]
    fn only_bare_answers_are_explained() {
        let head = |status: &str, length: &str| {
            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\ndate: now\r\n\r\n")
        };
        let code = |text: String| of_bare(text.as_bytes()).map(|problem| problem.code());
        assert_eq!(code(head("431", "0")), Some("head-too-large"));
        assert_eq!(code(head("414", "0")), Some("uri-too-long"));
        assert_eq!(code(head("400", "0")), Some("invalid-head"));
        for other in [head("400", "10"), head("204", "0"), head("404", "0"), "HTTP/1.1 4".to_owned(), String::new()] {
            assert_eq!(code(other), None);
        }
    }

    #[tokio::test]
    async fn what_is_still_sent_is_taken_until_the_answer_was_read() {
        let (near, mut far) = tokio::io::duplex(1_000);
        let mut near = Explained::new(near);
        let server = async {
            near.write_all(b"HTTP/1.1 431 X\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            near.shutdown().await.unwrap();
        };
        let client = async {
            far.write_all(&vec![b'x'; 100_000]).await.unwrap();
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            drop(far);
            text
        };
        let ((), text) = tokio::join!(server, client);
        assert!(text.starts_with("HTTP/1.1 431 ") && text.ends_with('}') && text.contains("head-too-large"), "{text}");
    }
}
