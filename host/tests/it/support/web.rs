//! The web that plugins ask: servers on loopback, with and without TLS, and a network whose names mean what a test says.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, header};
use axum::routing::any;
use axum::serve::Listener;
use futures_util::StreamExt as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use taskhost::plugin::outside::NetworkPort;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// An address that counts as public; the test's network leads it to loopback.
pub(crate) const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server; it ends when this is dropped.
pub(crate) struct WebServer {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

/// What a server was asked.
#[derive(Default)]
pub(crate) struct Seen {
    requests: Mutex<Vec<Value>>,
    /// A request that is never answered has come, and one was given up.
    pub(crate) waiting: Notify,
    pub(crate) given_up: Notify,
}

impl Seen {
    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

impl WebServer {
    /// Without TLS.
    pub(crate) async fn plain() -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::over(listener, port)
    }

    /// With a certificate of this authority for these names.
    pub(crate) async fn tls(authority: &Authority, names: &[&str]) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::over(TlsListener { listener, acceptor: authority.acceptor(names) }, port)
    }

    /// Answers each connection with these bytes, whatever was asked.
    pub(crate) async fn answering(bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(&bytes).await;
            }
        });
        Self { port, seen: Arc::default(), _tasks: tasks }
    }

    fn over<L: Listener<Addr = SocketAddr>>(listener: L, port: u16) -> Self {
        let seen = Arc::<Seen>::default();
        let router = router(&seen);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, seen, _tasks: tasks }
    }
}

fn router(seen: &Arc<Seen>) -> Router {
    let answers = |seen: &Arc<Seen>| {
        let seen = Arc::clone(seen);
        any(move |request: Request| answer(Arc::clone(&seen), request))
    };
    Router::new().route("/{*path}", answers(seen)).route("/", answers(seen))
}

/// Tells that a request was given up, unless it was answered.
struct Unanswered(Arc<Seen>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.given_up.notify_one();
    }
}

async fn answer(seen: Arc<Seen>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default();
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: BTreeMap<_, _> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let told = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body[..body.len().min(4096)]),
        "body_bytes": body.len(),
    });
    seen.requests.lock().unwrap().push(told.clone());
    let query = head.uri.query().unwrap_or_default();
    match head.uri.path() {
        "/never" => {
            let _unanswered = Unanswered(Arc::clone(&seen));
            seen.waiting.notify_one();
            std::future::pending().await
        }
        "/drip" => {
            let pause = futures_util::stream::pending();
            let first = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"first"))]);
            Response::new(Body::from_stream(first.chain(pause)))
        }
        "/big" => Response::new(Body::from(vec![b'x'; query.parse().unwrap()])),
        "/chunks" => {
            let chunks =
                (0..query.parse::<usize>().unwrap()).map(|_| Ok::<_, io::Error>(Bytes::from(vec![b'x'; 1024])));
            let chunks = futures_util::stream::iter(chunks);
            Response::new(Body::from_stream(chunks))
        }
        "/redirect" => Response::builder().status(302).header(header::LOCATION, query).body(Body::empty()).unwrap(),
        _ => Response::new(Body::from(told.to_string())),
    }
}

/// A certificate authority that only its makers believe.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not believe the certificate goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Names that mean what a test says, and [`PUBLIC`] that leads to loopback.
#[derive(Default)]
pub(crate) struct TestNetwork {
    /// What is left of a name's answers; the last one stays.
    names: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    connected: Mutex<Vec<SocketAddr>>,
}

impl TestNetwork {
    /// A network with these names, each with its answers in order.
    pub(crate) fn with(names: &[(&str, &[&[IpAddr]])]) -> Arc<Self> {
        let answers = |answers: &[&[IpAddr]]| answers.iter().map(|answer| answer.to_vec()).collect();
        let names = names.iter().map(|(name, of_name)| ((*name).to_owned(), answers(of_name))).collect();
        Arc::new(Self { names: Mutex::new(names), connected: Mutex::default() })
    }

    /// Where connections were asked for.
    pub(crate) fn connected(&self) -> Vec<IpAddr> {
        self.connected.lock().unwrap().iter().map(SocketAddr::ip).collect()
    }
}

#[async_trait]
impl NetworkPort for TestNetwork {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().unwrap().push(address);
        let ip = if address.ip() == PUBLIC { LOOPBACK } else { address.ip() };
        assert!(ip.is_loopback(), "a test leaves the machine: {address}");
        tokio::time::timeout(Duration::from_secs(5), TcpStream::connect((ip, address.port()))).await?
    }
}
