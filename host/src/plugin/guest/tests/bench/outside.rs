//! What guests leave outside: files, and names that never resolve.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio::net::TcpStream;

use super::{Cut, Recorder};
use crate::plugin::outside::NetworkPort;
use crate::plugin::ports::{Added, FilePort, Pending, PortError};
use crate::task::AddedFile;

/// A file: it is there until this is dropped.
pub(super) struct File(Arc<AtomicU32>);

impl File {
    pub(super) fn new(files: &Arc<AtomicU32>) -> Self {
        files.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(files))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl FilePort for File {
    async fn write(&mut self, _bytes: Vec<u8>) -> Result<(), PortError> {
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Added, PortError> {
        tokio::task::yield_now().await;
        let (id, name, content_type) = ("m".to_owned(), "n".to_owned(), "text/plain".to_owned());
        Ok(Added { file: AddedFile { id, name, content_type, size: 64 }, pending: self })
    }
}

impl Pending for File {
    fn keep(self: Box<Self>) {
        std::mem::forget(self);
    }
}

#[async_trait]
impl NetworkPort for Recorder {
    async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let _cut = Cut::begin(self);
        pending().await
    }

    async fn connect(&self, _address: SocketAddr) -> io::Result<TcpStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}
