//! WASI as guests see it: no files, no sockets, no environment; what they print goes to the log.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, async_trait};

use super::log::Book;
use crate::plugin::limits::MAX_RANDOM_BYTES;
use crate::plugin::ports::LogSource;

/// Bytes that a guest may write at once.
const WRITE_BYTES: usize = 64 * 1024;

/// What a guest gets of WASI.
pub(in crate::plugin) fn context(console: &Arc<Console>) -> WasiCtx {
    let print = |source| Print { console: console.clone(), source };
    WasiCtxBuilder::new()
        .stdout(print(LogSource::Stdout))
        .stderr(print(LogSource::Stderr))
        .max_random_size(MAX_RANDOM_BYTES)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Where the output of an instance goes: the log of the attempt that it serves. Streams that a
/// guest holds from one attempt to the next follow.
pub(in crate::plugin) struct Console(Mutex<Arc<Book>>);

impl Console {
    /// The console of an instance whose first attempt has this book.
    pub(in crate::plugin) fn new(book: &Arc<Book>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Arc::clone(book))))
    }

    /// Another attempt begins.
    pub(in crate::plugin) fn turn_to(&self, book: &Arc<Book>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(book);
    }

    fn output(&self, source: LogSource, bytes: &[u8]) {
        let book = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        book.output(source, bytes);
    }
}

#[derive(Clone)]
struct Print {
    console: Arc<Console>,
    source: LogSource,
}

impl IsTerminal for Print {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Print {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Print {
    async fn ready(&mut self) {}
}

impl OutputStream for Print {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.console.output(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for Print {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.console.output(self.source, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
