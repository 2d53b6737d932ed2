//! From a component to machine code, once for each digest.
//!
//! Compiling is where a file that nobody has checked yet costs the most: it may take minutes, gigabytes,
//! or bring the compiler down. So one component at a time is compiled, by whoever is behind
//! [`CompilePort`] (in a running host: a child process with limits), and what came out is kept on
//! disk under the component's digest. What is read back is only used when it is exactly what was
//! written here before, because machine code is not checked by anything later.

mod cache;
mod child;

use std::hash::{Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::task::Digest;

use self::cache::{Cache, Rejected};
use super::engine::{Compiled, Sandbox, base_config};
use super::link::LoadError;
use super::link::binary;

pub use self::child::run as run_child;

/// How often a compilation that goes on is told in the log.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why there is no machine code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The file is no valid component.
    #[error("{0}")]
    Invalid(String),
    /// It took more than it may; the text says what, and which setting allows more.
    #[error("{0}")]
    Limit(String),
    /// The compiler could not be started, or the host is stopping: the file may be sound.
    #[error("{0}")]
    Unavailable(String),
}

/// Translates components to machine code, somewhere where it harms nobody.
#[async_trait]
pub trait CompilePort: Send + Sync {
    /// The machine code of a component (binary or text), as [`run_child`] writes it. Dropping the future gives up.
    async fn compile(&self, component: Arc<[u8]>) -> Result<Vec<u8>, CompileError>;
}

/// Compiles on a thread of this process: for tools and tests, which can be ended as a whole.
#[derive(Clone, Copy, Debug)]
pub struct InProcess;

/// The same, for an engine whose backtraces name files and lines.
#[derive(Clone, Copy, Debug)]
pub struct InProcessWithDetails;

#[async_trait]
impl CompilePort for InProcess {
    async fn compile(&self, component: Arc<[u8]>) -> Result<Vec<u8>, CompileError> {
        in_process(component, false).await
    }
}

#[async_trait]
impl CompilePort for InProcessWithDetails {
    async fn compile(&self, component: Arc<[u8]>) -> Result<Vec<u8>, CompileError> {
        in_process(component, true).await
    }
}

async fn in_process(component: Arc<[u8]>, details: bool) -> Result<Vec<u8>, CompileError> {
    let compiled = tokio::task::spawn_blocking(move || machine_code(&component, details)).await;
    compiled.map_err(|error| CompileError::Invalid(error.to_string()))?.map_err(CompileError::Invalid)
}

/// Where a component is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another one is being compiled.
    Queued,
    /// It is being compiled.
    Compiling,
    /// There is machine code: it is linked and asked what it is.
    Checking,
    /// It does a task of which nothing stays, before it goes live.
    Canary,
}

impl Stage {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Compiling => "compiling",
            Self::Checking => "checking",
            Self::Canary => "canary",
        }
    }
}

/// What it took to get machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// It was found in the cache.
    pub cached: bool,
    /// Time that finding or compiling took, without waiting in line, in milliseconds.
    pub took_ms: u64,
}

/// The cache, and the one place at the compiler.
pub(super) struct Compiler {
    port: Arc<dyn CompilePort>,
    cache: Cache,
    place: Semaphore,
}

impl Compiler {
    /// Opens or creates the folder of the cache.
    pub(super) fn open(dir: &Path, engine: &Engine, port: Arc<dyn CompilePort>) -> std::io::Result<Self> {
        Ok(Self { port, cache: Cache::open(dir, compatibility(engine))?, place: Semaphore::new(1) })
    }
}

impl Sandbox {
    /// The code of a component whose SHA-256 is `digest`, from the cache or compiled now. `on_stage`
    /// hears how far it is.
    pub(super) async fn code(
        self: &Arc<Self>,
        digest: Digest,
        component: Arc<[u8]>,
        on_stage: &(dyn Fn(Stage) + Sync),
    ) -> Result<(Compiled, Effort), LoadError> {
        binary::check(&component)?;
        let effort = |cached, began: Instant| Effort { cached, took_ms: millis(began.elapsed()) };
        let began = Instant::now();
        if let Some(compiled) = self.cached(digest).await? {
            return Ok((compiled, effort(true, began)));
        }
        on_stage(Stage::Queued);
        let _place = self.compiler.place.acquire().await.map_err(|_| LoadError::Busy("the host is stopping".into()))?;
        // Whoever had the place may have compiled the same component under another name.
        let began = Instant::now();
        if let Some(compiled) = self.cached(digest).await? {
            return Ok((compiled, effort(true, began)));
        }
        on_stage(Stage::Compiling);
        let code = self.compile_told(digest, component).await?;
        let this = Arc::clone(self);
        let loaded = blocking(move || {
            this.compiler.cache.put(digest, &code);
            this.load(&code).map_err(|reason| LoadError::Invalid(reason.to_string()))
        });
        Ok((loaded.await??, effort(false, began)))
    }

    /// What the cache has. A bad entry is removed, and then there is none.
    async fn cached(self: &Arc<Self>, digest: Digest) -> Result<Option<Compiled>, LoadError> {
        let this = Arc::clone(self);
        blocking(move || {
            let cache = &this.compiler.cache;
            let loaded = cache.get(digest).and_then(|found| {
                let Some(code) = found else { return Ok(None) };
                this.load(code.bytes()).map(Some).map_err(|error| Rejected(error.to_string()))
            });
            loaded.unwrap_or_else(|Rejected(reason)| {
                tracing::warn!(%digest, reason, "a compiled plugin in the cache is not what was kept there; compiling it again");
                cache.remove(digest);
                None
            })
        })
        .await
    }

    async fn compile_told(&self, digest: Digest, component: Arc<[u8]>) -> Result<Vec<u8>, LoadError> {
        let (began, bytes) = (Instant::now(), component.len());
        tracing::debug!(%digest, bytes, "compiling");
        let mut compiling = self.compiler.port.compile(component);
        let code = loop {
            tokio::select! {
                code = &mut compiling => break code,
                () = tokio::time::sleep(TELL_EVERY) => {
                    tracing::info!(%digest, bytes, seconds = began.elapsed().as_secs(), "still compiling");
                }
            }
        };
        let took_ms = millis(began.elapsed());
        let code = code.map_err(|error| match error {
            CompileError::Invalid(reason) => LoadError::Invalid(reason),
            CompileError::Limit(reason) => LoadError::Compile(reason),
            CompileError::Unavailable(reason) => LoadError::Busy(reason),
        })?;
        tracing::info!(%digest, bytes, code_bytes = code.len(), took_ms, "compiled");
        Ok(code)
    }

    /// Makes machine code callable. The caller vouches for it: see [`Compiler`].
    #[expect(unsafe_code, reason = "machine code that was not made by this compiler would run with the host's rights")]
    fn load(&self, code: &[u8]) -> wasmtime::Result<Compiled> {
        // SAFETY: `code` came from the compiler of this very program just now, or from the cache,
        // which gives out only what it has authenticated as having come from there.
        let component = unsafe { Component::deserialize(&self.shared.engine, code) }?;
        Ok(Compiled { component })
    }

    /// Compiles here and now, without the cache.
    #[cfg(test)]
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<Compiled, LoadError> {
        binary::check(bytes)?;
        let code = machine_code(bytes, false).map_err(LoadError::Invalid)?;
        self.load(&code).map_err(|error| LoadError::Invalid(format!("{error:#}")))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LoadError::Invalid(format!("the loader failed on it: {error}")))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An engine that only compiles: it reserves no memory for instances, and makes the same code.
fn compiling_engine(details: bool) -> Result<Engine, String> {
    let config: Config = base_config(details);
    Engine::new(&config).map_err(|error| format!("cannot start the compiler: {error:#}"))
}

/// Translates a component. Takes as long and as much as it takes. Code with `details` knows the component's files and lines,
/// and only an engine that wants them takes it.
fn machine_code(component: &[u8], details: bool) -> Result<Vec<u8>, String> {
    let engine = compiling_engine(details)?;
    let compiled = catch_unwind(AssertUnwindSafe(|| engine.precompile_component(component)));
    compiled.map_err(|_| "the compiler panicked".to_owned())?.map_err(|error| format!("{error:#}"))
}

/// Tells apart what different engines compile. The same for every start of the same build.
fn compatibility(engine: &Engine) -> u64 {
    // SipHash with fixed keys: it names files, nothing more; what is in them is authenticated.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
