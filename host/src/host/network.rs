//! The web as the host's plugins reach it: the system's resolver and sockets, its certificate authorities and the
//! operator's, and the operator's secrets.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::plugin::outside::{NetworkPort, Outside, Secrets, Trust};

/// Names that are looked up at the same time. Each takes a thread for as long as the system wants, also when nobody
/// waits for it any more.
const MAX_LOOKUPS: usize = 64;

/// Names as the system resolves them, and its sockets.
pub(super) struct System {
    lookups: Arc<Semaphore>,
}

impl System {
    pub(super) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

#[async_trait]
impl NetworkPort for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let look_up = move || {
            let _place = place;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        };
        tokio::task::spawn_blocking(look_up).await?
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// What the configuration says about the web.
pub(super) fn outside(config: &Config, network: Arc<dyn NetworkPort>) -> anyhow::Result<Outside> {
    let authorities = match &config.plugins.http_ca_file {
        Some(file) => authorities(file).with_context(|| format!("`plugins.http_ca_file`: {}", file.display()))?,
        None => Vec::new(),
    };
    let trust = Trust::with(authorities).context("`plugins.http_ca_file` has a certificate that is no authority")?;
    let secrets = Arc::new(Secrets::Known(config.secrets.clone()));
    Ok(Outside { network, trust: Arc::new(trust), secrets })
}

fn authorities(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!found.is_empty(), "the file has no certificate in PEM form");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{NetworkPort as _, System};

    #[tokio::test]
    async fn names_are_looked_up_as_the_system_does_and_places_come_back() {
        let system = System::new();
        for _ in 0..2 * super::MAX_LOOKUPS {
            let found = system.resolve("localhost").await.unwrap();
            assert!(!found.is_empty() && found.iter().all(std::net::IpAddr::is_loopback), "{found:?}");
            assert!(system.resolve("not a name").await.is_err());
        }
    }
}
