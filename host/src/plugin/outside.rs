//! The way to the web: who resolves names and connects, whose certificates are believed, and the operator's secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use crate::secret::Secret;

/// Names and connections. What may be reached was decided before a connection is asked for.
#[async_trait]
pub trait NetworkPort: Send + Sync {
    /// Every address of a name, in the order in which they should be tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
    /// Connects to exactly this address.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// Everything that an outgoing request needs of the host.
#[derive(Clone)]
pub struct Outside {
    /// Names and connections.
    pub network: Arc<dyn NetworkPort>,
    /// Whose certificates are believed.
    pub trust: Arc<Trust>,
    /// The operator's secrets.
    pub secrets: Arc<Secrets>,
}

/// The operator's secrets, by name.
#[derive(Debug)]
pub enum Secrets {
    /// These, and no others.
    Known(BTreeMap<String, Secret>),
    /// Nobody knows them here: each name counts as one.
    Unknown,
}

impl Secrets {
    /// The secret of this name, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<Secret> {
        match self {
            Self::Known(secrets) => secrets.get(name).cloned(),
            Self::Unknown => Secret::new(&format!("unknown secret {name}")).ok(),
        }
    }
}

impl Outside {
    /// No way at all: no name has an address.
    pub fn absent() -> Self {
        let trust = Trust { added: RootCertStore::empty(), config: OnceLock::new() };
        Self { network: Arc::new(Absent), trust: Arc::new(trust), secrets: Arc::new(Secrets::Unknown) }
    }
}

struct Absent;

#[async_trait]
impl NetworkPort for Absent {
    async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    async fn connect(&self, _address: SocketAddr) -> io::Result<TcpStream> {
        Err(io::ErrorKind::NetworkUnreachable.into())
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// The authorities of the system, and those that the operator adds.
#[derive(Debug)]
pub struct Trust {
    added: RootCertStore,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// Believes the system's authorities and these; an error is about one of these.
    pub fn with(authorities: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let mut added = RootCertStore::empty();
        for authority in authorities {
            added.add(authority)?;
        }
        Ok(Self { added, config: OnceLock::new() })
    }

    /// How to speak TLS. The system's authorities are read when somebody asks first, which takes some milliseconds.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.get_or_init(|| Arc::new(client(self.added.clone()))).clone()
    }
}

fn client(mut roots: RootCertStore) -> ClientConfig {
    let system = rustls_native_certs::load_native_certs();
    let (_added, ignored) = roots.add_parsable_certificates(system.certs);
    for error in system.errors {
        tracing::warn!("a certificate authority of the system cannot be read: {error}");
    }
    if ignored > 0 {
        tracing::warn!("{ignored} certificate authorities of the system are not usable");
    }
    if roots.is_empty() {
        tracing::warn!("the system has no certificate authorities: no plugin can use https");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
