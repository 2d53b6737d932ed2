//! The web as the host's plugins reach it: the system's resolver and sockets, its certificate authorities and the
//! operator's, and the operator's secrets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;

use crate::config::Config;
use crate::plugin::outside::{NetworkPort, Outside, Secrets, Trust};

/// Names as the system resolves them, and its sockets.
pub(super) struct System;

#[async_trait]
impl NetworkPort for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
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
