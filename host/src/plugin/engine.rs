//! The sandbox: one engine, one pool of instances and one runtime for all guests.

mod epoch;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
    WasmFeatures,
};

pub(super) use self::epoch::Computing;
use self::epoch::EpochThread;
use super::compile::Compiler;
use super::gate::Gate;
use super::guest::warm::Nests;
use super::limits::{HostMemory, MAX_MEMORIES, MAX_TABLES};
use super::ports::Ports;
use super::rate::Buckets;
use super::{Rules, Settings};

/// Frames of a backtrace. A panic of Rust takes a dozen until it traps.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Native stack that a guest may use, in bytes.
pub(super) const GUEST_STACK_BYTES: usize = 512 * 1024;
/// Core instances that a component may be made of.
pub(super) const MAX_CORE_INSTANCES: u32 = 64;
/// What a place in the pool holds: a component that needs more takes several places.
const MEMORIES_PER_PLACE: u32 = 1;
const TABLES_PER_PLACE: u32 = 4;
/// Elements of one table.
const TABLE_ELEMENTS: usize = 100_000;
/// Address space of one linear memory; what a guest may really use is in its limits.
const MAX_MEMORY_BYTES: usize = 4 << 30;
/// The host's own records of one instance, in bytes.
const MAX_INSTANCE_BYTES: usize = 10 << 20;
/// Pages of a freed place that stay mapped, in bytes: cheaper to clear than to fault in again.
const KEEP_RESIDENT_BYTES: usize = 256 * 1024;
/// Polls between two looks at timers and at new attempts. A poll of a computing guest takes a tick,
/// so the usual 61 would keep others waiting for long.
const POLLS_BETWEEN_EVENTS: u32 = 4;

/// What guests may never use, whatever the defaults become.
const FORBIDDEN: WasmFeatures = WasmFeatures::THREADS
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::CM_ASYNC);

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder for compiled code.
    #[error("cannot use {} for compiled plugins: {reason}", dir.display())]
    Cache {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// wasmtime refuses the configuration.
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    /// A feature that widens what a guest can attack was switched on by a dependency.
    #[error("the WebAssembly engine was built with features that must be off: {0}")]
    Features(String),
    /// The operating system gives no threads.
    #[error("cannot start the threads of the guests: {0}")]
    Threads(#[from] std::io::Error),
}

/// What every attempt needs of the sandbox.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) ports: Ports,
    pub(super) memory: Arc<HostMemory>,
    pub(super) places: Arc<Semaphore>,
    pub(super) nests: Arc<Nests>,
    pub(super) total_places: u32,
    pub(super) runtime: Handle,
    pub(super) computing: Arc<Computing>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) cancel_grace: Duration,
    /// Processes of commands and of ffmpeg, by plugin.
    pub(super) gate: Arc<Gate>,
    /// What plugins may still create.
    pub(super) buckets: Buckets,
}

impl Shared {
    /// The same sandbox, which lends something else.
    pub(super) fn with_ports(&self, ports: Ports) -> Self {
        Self {
            engine: self.engine.clone(),
            ports,
            memory: Arc::clone(&self.memory),
            places: Arc::clone(&self.places),
            nests: Arc::clone(&self.nests),
            total_places: self.total_places,
            runtime: self.runtime.clone(),
            computing: Arc::clone(&self.computing),
            stopping: Arc::clone(&self.stopping),
            cancel_grace: self.cancel_grace,
            gate: Arc::clone(&self.gate),
            // What a canary creates is not created.
            buckets: Buckets::default(),
        }
    }
}

/// Runs guests.
pub struct Sandbox {
    pub(super) shared: Arc<Shared>,
    runtime: Mutex<Option<Runtime>>,
    pub(super) compiler: Compiler,
    pub(super) rules: Rules,
    /// Last: it ticks until the guests that `runtime` held have come to an end.
    _epoch: EpochThread,
}

/// A component that was translated to machine code.
#[derive(Clone)]
pub struct Compiled {
    pub(super) component: Component,
}

impl Sandbox {
    /// Reserves the pool and starts the threads. Blocks on the disk for a moment.
    pub fn start(settings: &Settings, ports: Ports) -> Result<Arc<Self>, StartError> {
        let places = settings.max_instances.max(1);
        let engine = engine(places, settings.dev)?;
        let enabled = engine.get_wasm_features().intersection(FORBIDDEN);
        if !enabled.is_empty() {
            let names: Vec<_> = enabled.iter_names().map(|(name, _)| name).collect();
            return Err(StartError::Features(names.join(", ")));
        }
        let refuse =
            |error: std::io::Error| StartError::Cache { dir: settings.cache_dir.clone(), reason: error.to_string() };
        let compiler = Compiler::open(&settings.cache_dir, &engine, ports.compiler.clone()).map_err(refuse)?;
        let epoch = EpochThread::start(&engine)?;
        let runtime = runtime(settings.threads)?;
        let nests = Arc::<Nests>::default();
        let idle = Arc::clone(&nests);
        let shared = Arc::new(Shared {
            engine,
            ports,
            memory: Arc::new(HostMemory::new(settings.memory_total_bytes, move || idle.clear())),
            nests,
            places: Arc::new(Semaphore::new(places as usize)),
            total_places: places,
            runtime: runtime.handle().clone(),
            computing: epoch.computing(),
            stopping: Arc::default(),
            cancel_grace: Duration::from_millis(settings.cancel_grace_ms),
            gate: Arc::default(),
            buckets: Buckets::default(),
        });
        let (runtime, rules) = (Mutex::new(Some(runtime)), settings.rules.clone());
        Ok(Arc::new(Self { shared, runtime, compiler, rules, _epoch: epoch }))
    }

    /// Bytes of linear memory and tables that all guests hold now.
    pub fn memory_used(&self) -> u64 {
        self.shared.memory.used()
    }

    /// Where guests run.
    pub(super) fn runtime(&self) -> Handle {
        self.shared.runtime.clone()
    }

    /// Drops every guest that still runs, without waiting: their attempts end as interrupted.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.places.close();
        self.shared.nests.retire();
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("places", &self.shared.total_places).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").finish_non_exhaustive()
    }
}

impl Compiled {
    /// Places of the pool that one instance takes; absent when it cannot be told.
    pub(super) fn places(&self) -> Option<u32> {
        let needs = self.component.resources_required()?;
        let memories = needs.num_memories.div_ceil(MEMORIES_PER_PLACE);
        Some(memories.max(needs.num_tables.div_ceil(TABLES_PER_PLACE)).max(1))
    }
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder
        .thread_name("guest")
        .event_interval(POLLS_BETWEEN_EVENTS)
        .global_queue_interval(POLLS_BETWEEN_EVENTS / 2)
        .enable_all()
        .build()
}

fn engine(places: u32, details: bool) -> Result<Engine, StartError> {
    let mut config = base_config(details);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(places)));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!("no address space for a pool of {places} instances, guests will start slower: {error:#}");
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Engine::new(&config).map_err(|error| StartError::Engine(format!("{error:#}")))
        }
    }
}

/// What decides which code is made, apart from where its instances live. With `details` backtraces name files and lines:
/// reading what a component says of them costs time and memory, and only its author needs it.
pub(super) fn base_config(details: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .wasm_backtrace_details(if details { WasmBacktraceDetails::Enable } else { WasmBacktraceDetails::Disable })
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .max_wasm_stack(GUEST_STACK_BYTES)
        .memory_init_cow(true)
        .wasm_features(FORBIDDEN, false)
        .relaxed_simd_deterministic(true);
    config
}

fn pool(places: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(places.saturating_mul(MEMORIES_PER_PLACE))
        .total_tables(places.saturating_mul(TABLES_PER_PLACE))
        .total_stacks(places)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .max_memory_size(MAX_MEMORY_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(places)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests;
