//! The web that plugins ask: servers on loopback, with and without TLS, and a network whose names mean what a test says.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
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
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// An address that counts as public; the test's network leads it to loopback.
pub(crate) const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));
/// A public address where nobody answers.
pub(crate) const SILENT: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 35));
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
    open: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    /// A request that is never answered has come, and one was given up.
    pub(crate) waiting: Notify,
    pub(crate) given_up: Notify,
}

impl Seen {
    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until every request that is never answered was given up.
    pub(crate) async fn all_given_up(&self) {
        while self.open.load(Ordering::SeqCst) > 0 {
            self.given_up.notified().await;
        }
    }

    /// Requests to `/together` that were here at the same time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
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
        Self::tls_until(authority, names, 4096).await
    }

    /// The same, until the beginning of a year.
    pub(crate) async fn tls_until(authority: &Authority, names: &[&str], year: i32) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::over(TlsListener { listener, acceptor: authority.acceptor(names, year) }, port)
    }

    /// Answers each connection with these bytes, whatever was asked, and closes it.
    pub(crate) async fn answering(bytes: Vec<u8>) -> Self {
        Self::speaking(bytes, |_, _| async {}).await
    }

    /// Begins each answer with these bytes, and says nothing more until the other side goes away.
    pub(crate) async fn stalling(bytes: Vec<u8>) -> Self {
        let wait = |mut stream: TcpStream, seen: Arc<Seen>| async move {
            seen.waiting.notify_one();
            while stream.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {}
            seen.given_up.notify_one();
        };
        Self::speaking(bytes, wait).await
    }

    /// Begins each answer with these bytes, and repeats `piece` until the other side goes away, at once or every `pause`.
    pub(crate) async fn repeating(bytes: Vec<u8>, piece: &'static [u8], pause: Duration) -> Self {
        let repeat = move |mut stream: TcpStream, seen: Arc<Seen>| async move {
            let mut pace = interval(pause.max(Duration::from_micros(1)));
            while stream.write_all(piece).await.is_ok() {
                if !pause.is_zero() {
                    pace.tick().await;
                }
            }
            seen.given_up.notify_one();
        };
        Self::speaking(bytes, repeat).await
    }

    /// Takes connections and reads nothing from them.
    pub(crate) async fn deaf() -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let (mut tasks, told) = (JoinSet::new(), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut held = Vec::new();
            loop {
                held.push(listener.accept().await.unwrap());
                told.waiting.notify_one();
            }
        });
        Self { port, seen, _tasks: tasks }
    }

    async fn speaking<F, T>(bytes: Vec<u8>, then: F) -> Self
    where
        F: Fn(TcpStream, Arc<Seen>) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let (mut tasks, told) = (JoinSet::new(), Arc::clone(&seen));
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 4096];
                let length = stream.read(&mut asked).await.unwrap_or_default();
                let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                told.requests.lock().unwrap().push(Value::from(asked));
                let _ = stream.write_all(&bytes).await;
                then(stream, Arc::clone(&told)).await;
            }
        });
        Self { port, seen, _tasks: tasks }
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
        self.0.open.fetch_sub(1, Ordering::SeqCst);
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
            seen.open.fetch_add(1, Ordering::SeqCst);
            let _unanswered = Unanswered(Arc::clone(&seen));
            seen.waiting.notify_one();
            std::future::pending().await
        }
        "/together" => {
            let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most.fetch_max(now, Ordering::SeqCst);
            // The others have a chance to come, too.
            tokio::task::yield_now().await;
            seen.now.fetch_sub(1, Ordering::SeqCst);
            Response::new(Body::empty())
        }
        "/busy" => {
            let answer = Response::builder().status(503);
            let answer = if query.is_empty() { answer } else { answer.header(header::RETRY_AFTER, query) };
            answer.body(Body::from("not now")).unwrap()
        }
        "/refuse" => {
            let secret = told["headers"]["authorization"].as_str().unwrap_or_default();
            Response::builder().status(400).body(Body::from(format!("not with {secret}"))).unwrap()
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

    fn acceptor(&self, names: &[&str], year: i32) -> TlsAcceptor {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
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

/// Names that mean what a test says, and [`PUBLIC`] that leads to loopback. The name `never.test` is looked up for ever,
/// and so is [`SILENT`] connected to.
#[derive(Default)]
pub(crate) struct TestNetwork {
    /// Something has begun that never ends.
    pub(crate) waiting: Notify,
    /// And it was given up.
    pub(crate) given_up: Arc<Notify>,
    /// What is left of a name's answers; the last one stays.
    names: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    connected: Mutex<Vec<SocketAddr>>,
}

impl TestNetwork {
    /// A network with these names, each with its answers in order.
    pub(crate) fn with(names: &[(&str, &[&[IpAddr]])]) -> Arc<Self> {
        let answers = |answers: &[&[IpAddr]]| answers.iter().map(|answer| answer.to_vec()).collect();
        let names = names.iter().map(|(name, of_name)| ((*name).to_owned(), answers(of_name))).collect();
        Arc::new(Self { names: Mutex::new(names), ..Self::default() })
    }

    async fn never<T>(&self) -> T {
        struct Given(Arc<Notify>);
        impl Drop for Given {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let _given_up = Given(Arc::clone(&self.given_up));
        self.waiting.notify_one();
        std::future::pending().await
    }

    /// Where connections were asked for.
    pub(crate) fn connected(&self) -> Vec<IpAddr> {
        self.connected.lock().unwrap().iter().map(SocketAddr::ip).collect()
    }
}

#[async_trait]
impl NetworkPort for TestNetwork {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name == "never.test" {
            return self.never().await;
        }
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().unwrap().push(address);
        if address.ip() == SILENT {
            return self.never().await;
        }
        let ip = if address.ip() == PUBLIC { LOOPBACK } else { address.ip() };
        assert!(ip.is_loopback(), "a test leaves the machine: {address}");
        tokio::time::timeout(Duration::from_secs(5), TcpStream::connect((ip, address.port()))).await?
    }
}
