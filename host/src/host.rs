//! The composition root: opens the parts, wires them, starts them, and stops them in two phases.

mod admin;
mod arrivals;
mod callback;
mod command;
mod compile;
mod control;
mod dev;
mod files;
mod lend;
mod network;
mod news;
pub mod rehearsal;
mod rules;
mod space;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::callback::Callbacks;
pub use self::compile::{COMPILE_COMMAND, this_program};
pub use self::rules::plugin_rules;
use self::space::SpaceWatch;
use crate::api::{self, Admin, AppState, HostInfo, Readiness};
use crate::config::{Config, Kept};
use crate::ffmpeg::Ffmpeg;
use crate::limiter::{Breakers, ConnectionLimiter, Limits};
use crate::logs::TaskLogs;
use crate::media::Library;
use crate::plugin::Plugins;
use crate::plugin::outside::NetworkPort;
use crate::plugin::ports::Ports;
use crate::process::Supervisor;
use crate::runner::{self, Runner, Shutdown};
use crate::store::sled::SledStore;
use crate::store::{Keep, Retention, Store};
use crate::task::BootId;
use crate::ticker::{self, Ticker};
use crate::time::now;

/// The file below the data directory that says where the host listens.
const ADDRESS_FILE: &str = "address";
/// The folder below the data directory that the store keeps.
pub const STORE_FOLDER: &str = "store";
/// The file below the data directory with the key of callbacks.
const CALLBACK_KEY_FILE: &str = "callback.key";
/// How long requests that are being answered may go on after everything else has stopped.
const HTTP_DRAIN_MS: u64 = 2_000;

/// The context of an error that is the data directory's: the operator has to look at it.
#[derive(Debug)]
pub struct DataDirectory(String);

impl std::fmt::Display for DataDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl DataDirectory {
    fn cannot(what: &str, path: &Path) -> Self {
        Self(format!("cannot {what} {}", path.display()))
    }
}

/// A running host.
#[derive(Debug)]
pub struct Host {
    addr: SocketAddr,
    parts: Parts,
    shutdown: Shutdown,
    /// Ends HTTP, after the attempts have ended: until then clients can watch the drain.
    http_stop: CancellationToken,
    grace: Duration,
    readiness: Arc<Readiness>,
    address_file: PathBuf,
    runner: JoinHandle<()>,
    ticker: JoinHandle<()>,
    space: JoinHandle<()>,
    arrivals: JoinHandle<()>,
    news: JoinHandle<()>,
    dev: Option<JoinHandle<()>>,
    http: JoinHandle<api::serve::Drained>,
}

/// What is open as long as the host runs.
#[derive(Debug)]
struct Parts {
    store: Arc<dyn Store>,
    media: Library,
    supervisor: Supervisor,
    logs: Arc<TaskLogs>,
    plugins: Arc<Plugins>,
    breakers: Arc<Breakers>,
    admin: Arc<Admin>,
    callbacks: Arc<Callbacks>,
    boot: BootId,
}

impl Host {
    /// Opens the data directory, loads the plugins, binds the address and starts the loops.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Self::start_on(config, Arc::new(network::System::new())).await
    }

    /// The same, with another way for plugins to resolve names and to connect.
    pub async fn start_on(config: Config, network: Arc<dyn NetworkPort>) -> anyhow::Result<Self> {
        let started_at = now();
        let parts = Parts::open(&config, network).await?;
        let shutdown = Shutdown::default();
        let http_stop = CancellationToken::new();
        let listener = TcpListener::bind(config.server.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.server.listen))?;
        let addr = listener.local_addr().context("cannot tell the address that was bound")?;

        let readiness = Arc::new(Readiness::default());
        let space = SpaceWatch::begin(config.data.clone(), config.store.min_free_bytes, Arc::clone(&readiness));
        let info = HostInfo {
            version: env!("CARGO_PKG_VERSION"),
            wasmtime: crate::plugin::WASMTIME_VERSION,
            boot: parts.boot,
            started_at,
        };
        let state = parts.state(&config, info, Arc::clone(&readiness), http_stop.clone());
        let serve = api::serve::Settings {
            max_connections: config.server.max_connections,
            drain_ms: HTTP_DRAIN_MS,
            ..api::serve::Settings::default()
        };
        let runner = parts.runner(&config, shutdown.clone());
        let ticker = parts.ticker(&config, shutdown.stop.clone());
        let runtime = tokio::runtime::Handle::current();
        let runner = runtime.spawn(runner.run());
        let ticker = runtime.spawn(ticker.run());
        let space = runtime.spawn(space.run(shutdown.stop.clone()));
        let arrivals = arrivals::tell(Arc::clone(&parts.plugins), Arc::clone(&readiness), shutdown.stop.clone());
        let arrivals = runtime.spawn(arrivals);
        let news = news::tell(Arc::clone(&parts.plugins), Arc::clone(&parts.store), shutdown.stop.clone());
        let news = runtime.spawn(news);
        let dev = config.plugins.dev.then(|| dev::tell(Arc::clone(&parts.plugins), shutdown.stop.clone()));
        let dev = dev.map(|dev| runtime.spawn(dev));
        let http = runtime.spawn(api::serve::serve(listener, api::router(state), serve, http_stop.clone()));

        let address_file = config.data.join(ADDRESS_FILE);
        write_atomically(&address_file, &addr.to_string())
            .with_context(|| DataDirectory::cannot("write", &address_file))?;
        let grace = Duration::from_millis(config.runner.shutdown_grace_ms);
        Ok(Self {
            addr,
            parts,
            shutdown,
            http_stop,
            grace,
            readiness,
            address_file,
            runner,
            ticker,
            space,
            arrivals,
            news,
            dev,
            http,
        })
    }

    /// Where HTTP is served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The store, for those who embed the host.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// The plugins, for those who embed the host.
    pub fn plugins(&self) -> &Arc<Plugins> {
        &self.parts.plugins
    }

    /// Stops in two phases: nothing new is begun and guests are asked to yield; after the grace,
    /// what still runs is interrupted and returns to the queue, not counted (invariant I14).
    pub async fn stop(self) -> anyhow::Result<()> {
        self.readiness.set("host", Some("it is stopping".to_owned()));
        self.shutdown.stop.cancel();
        let mut runner = self.runner;
        let drained = tokio::time::timeout(self.grace, &mut runner).await;
        let ran = if let Ok(ran) = drained {
            ran
        } else {
            tracing::info!("the grace is over, interrupting what still runs");
            self.shutdown.abort.cancel();
            runner.await
        };
        let ticked = self.ticker.await;
        let watched = self.space.await;
        self.arrivals.await.context("the watch of the plugins that come panicked")?;
        self.news.await.context("the teller of plugins' news panicked")?;
        if let Some(dev) = self.dev {
            dev.await.context("the teller of changes panicked")?;
        }
        self.http_stop.cancel();
        let served = self.http.await;
        self.parts.close().await;
        // It names a host that is gone; nobody depends on it.
        drop(std::fs::remove_file(&self.address_file));
        ran.context("the runner panicked")?;
        ticked.context("the ticker panicked")?;
        watched.context("the watch of the disk panicked")?;
        served.context("the HTTP server panicked")?;
        Ok(())
    }
}

impl Parts {
    async fn open(config: &Config, network: Arc<dyn NetworkPort>) -> anyhow::Result<Self> {
        let data = config.data.clone();
        std::fs::create_dir_all(&data).with_context(|| DataDirectory::cannot("create", &data))?;
        let admin = Arc::new(Admin::new(&admin::token(&data.join(&config.server.admin_token_file))?));
        let boot = BootId(fastrand::u64(..));
        let settings = crate::store::sled::Settings {
            cache_bytes: usize::try_from(config.store.cache_bytes).unwrap_or(usize::MAX),
            max_live_tasks: u64::from(config.store.max_live_tasks),
            aging_ms: config.runner.aging_ms,
            accept_data_loss: config.store.accept_data_loss,
            ..crate::store::sled::Settings::new(data.join(STORE_FOLDER), boot)
        };
        let supervisor = Supervisor::new().context("cannot start the supervisor of child processes")?;
        // Asking ffmpeg for its version takes as long as opening the store.
        let (opened, ffmpeg) = tokio::join!(
            tokio::task::spawn_blocking(move || SledStore::open(settings, now())),
            Ffmpeg::detect(ffmpeg_settings(config), supervisor.clone()),
        );
        let store: Arc<dyn Store> = opened.context("opening the store panicked")??;
        let library = Library::open(media_settings(config), Arc::clone(&store))
            .await
            .with_context(|| DataDirectory::cannot("use", &data.join("media")))?;
        match (ffmpeg.problem(), ffmpeg.version()) {
            (Some(problem), _) => tracing::warn!("cuts are not available: {problem}"),
            (None, version) => tracing::info!(version, "found ffmpeg"),
        }
        let logs = TaskLogs::open(&data.join("logs"), config.log.task_log_bytes)
            .with_context(|| DataDirectory::cannot("use", &data.join("logs")))?;
        let logs = Arc::new(logs);
        let compiler = compile::compiler(config.plugins.compiler.as_deref(), compile::Bounds::of(config), &supervisor);
        let callbacks = Callbacks::open(&data.join(CALLBACK_KEY_FILE), &config.server.public_url)
            .with_context(|| DataDirectory::cannot("use", &data.join(CALLBACK_KEY_FILE)))?;
        let callbacks = Arc::new(callbacks);
        let commands = command::Commands { media: library.clone(), supervisor: supervisor.clone() };
        let lent = (Arc::clone(&callbacks) as _, Arc::new(commands) as _, compiler);
        let ports = lend::ports(&store, &library, &Arc::new(ffmpeg), &logs, lent);
        let outside = network::outside(config, network)?;
        let plugins = Self::start_plugins(config, Ports { outside, ..ports }).await?;
        news::tell_the_rest(&plugins, &*store).await;
        store.declare_schedules(config.schedules.clone(), now()).await.context("cannot declare the schedules")?;
        let limits = store.declare_limits(config.limits.clone(), config.fairness.clone(), now()).await;
        limits.context("cannot declare the limits")?;
        let breakers = Breakers::new(config.runner.breaker);
        Ok(Self { store, media: library, supervisor, logs, plugins, breakers, admin, callbacks, boot })
    }

    async fn start_plugins(config: &Config, ports: Ports) -> anyhow::Result<Arc<Plugins>> {
        Plugins::start(plugin_settings(config)?, ports).await.context("cannot start the plugin sandbox")
    }

    fn state(&self, config: &Config, info: HostInfo, readiness: Arc<Readiness>, stop: CancellationToken) -> AppState {
        let server = &config.server;
        let limits = Limits {
            max_api_requests: server.max_requests,
            max_streams: server.max_streams,
            max_uploads: server.max_uploads,
            max_watchers: server.max_event_clients,
        };
        AppState {
            store: Arc::clone(&self.store),
            plugins: Arc::new(lend::Directory {
                plugins: Arc::clone(&self.plugins),
                breakers: Arc::clone(&self.breakers),
            }),
            control: Arc::new(control::Control {
                plugins: Arc::clone(&self.plugins),
                max_component_bytes: config.plugins.max_component_bytes,
            }),
            admin: Arc::clone(&self.admin),
            media: self.media.clone(),
            logs: Arc::new(lend::Logs(Arc::clone(&self.logs))),
            callbacks: Arc::clone(&self.callbacks) as _,
            settings: api::Settings {
                max_body_bytes: usize::try_from(server.max_body_bytes).unwrap_or(usize::MAX),
                max_batch_bytes: usize::try_from(server.max_batch_bytes).unwrap_or(usize::MAX),
                max_input_bytes: usize::try_from(server.max_input_bytes).unwrap_or(usize::MAX),
                limits,
                loopback: server.listen.ip().is_loopback(),
                host_names: host_names(server),
            },
            limiter: ConnectionLimiter::new(limits),
            info,
            readiness,
            stop,
        }
    }

    fn runner(&self, config: &Config, shutdown: Shutdown) -> Runner {
        let settings = runner::Settings {
            concurrency: config.runner.concurrency,
            lease_ms: config.runner.lease_ms,
            stop_grace_ms: config.runner.stop_grace_ms,
            boot: self.boot,
        };
        let breakers = Arc::clone(&self.breakers);
        Runner::new(Arc::clone(&self.store), Arc::clone(&self.plugins), breakers, settings, shutdown)
    }

    fn ticker(&self, config: &Config, stop: CancellationToken) -> Ticker {
        let keep = |kept: Kept| Keep {
            max_age_ms: kept.max_age_ms,
            max_tasks: u64::from(kept.max_tasks),
            max_bytes: kept.max_bytes,
        };
        let retention = Retention {
            succeeded: keep(config.history.succeeded),
            failed: keep(config.history.failed),
            cancelled: keep(config.history.cancelled),
            max_events: u64::from(config.history.max_events),
        };
        let settings = ticker::Settings { lease_ms: config.runner.lease_ms, retention };
        Ticker::new(Arc::clone(&self.store), Arc::clone(&self.plugins), Arc::clone(&self.logs), settings, stop)
    }

    /// Ends what the parts own, those that use others first.
    async fn close(&self) {
        self.plugins.stop().await;
        news::tell_the_rest(&self.plugins, &*self.store).await;
        self.supervisor.stop().await;
        self.store.close().await;
    }
}

fn plugin_settings(config: &Config) -> anyhow::Result<crate::plugin::Settings> {
    Ok(crate::plugin::Settings {
        dir: config.plugins.dir.clone(),
        cache_dir: config.data.join("cache"),
        kept_dir: config.data.join("generations"),
        threads: usize::try_from(config.plugins.threads).unwrap_or(0),
        max_instances: config.plugins.max_instances,
        memory_total_bytes: config.plugins.memory_total_bytes,
        max_component_bytes: config.plugins.max_component_bytes,
        cancel_grace_ms: config.plugins.cancel_grace_ms,
        dev: config.plugins.dev,
        rules: plugin_rules(config).map_err(anyhow::Error::msg)?,
    })
}

/// A host that only this machine reaches may be reached under its public address, too: through a proxy.
fn host_names(server: &crate::config::Server) -> Vec<String> {
    let loopback = server.listen.ip().is_loopback();
    server.public_host().filter(|_| loopback).map(str::to_owned).into_iter().collect()
}

fn media_settings(config: &Config) -> crate::media::Settings {
    crate::media::Settings {
        dir: config.data.join("media"),
        max_upload_bytes: config.media.max_upload_bytes,
        trash_grace_ms: config.media.trash_grace_ms,
        min_free_bytes: config.media.min_free_bytes,
    }
}

fn ffmpeg_settings(config: &Config) -> crate::ffmpeg::Settings {
    let defaults = crate::ffmpeg::Settings::default();
    crate::ffmpeg::Settings {
        ffmpeg: config.ffmpeg.ffmpeg.clone(),
        ffprobe: config.ffmpeg.ffprobe.clone(),
        search_path: config.ffmpeg.search_path.clone(),
        jobs: if config.ffmpeg.jobs == 0 { defaults.jobs } else { config.ffmpeg.jobs },
        max_output_bytes: config.ffmpeg.max_output_bytes,
        threads: config.ffmpeg.threads,
        presets: config.ffmpeg.presets.clone(),
        ..defaults
    }
}

/// Readers see the old content or the new one, never a part.
fn write_atomically(path: &Path, content: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, path)
}
