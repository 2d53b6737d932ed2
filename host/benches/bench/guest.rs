//! An attempt, with everything that guards it, against a bare instantiate-and-call loop in the same run.

use std::sync::Arc;
use std::time::Duration;

use taskhost::plugin::{Generation, Job};
use taskhost::task::{NewTask, Outcome, Spec, TaskId};
use taskhost::time::now;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::report::Report;
use crate::rig::{Rig, built, fixture, micros, quantile};

/// Calls of one round; rounds of both sides alternate, and the median round counts.
const CALLS: u32 = 2_000;
const ROUNDS: usize = 7;
/// Attempts at the same time, where the host may use every thread.
const ABREAST: u32 = 16;

mod contract {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package taskhost:bench;
            world bare {
                import taskhost:host/log@0.1.0;
                import taskhost:host/config@0.1.0;
                import taskhost:host/context@0.1.0;
                export taskhost:plugin/executor@0.1.0;
            }
        ",
        world: "taskhost:bench/bare",
        exports: { default: async },
    });
}
use contract::exports::taskhost::plugin::executor::{self, GuestIndices};
use contract::taskhost::host::{config, context, log};
use contract::taskhost::task::types as wire;

/// What is run, on both sides.
pub(crate) struct Subject {
    /// The kind, and the plugin's name.
    pub(crate) kind: &'static str,
    /// The component.
    pub(crate) component: Vec<u8>,
    /// Its manifest.
    pub(crate) manifest: String,
    /// The task's input.
    pub(crate) input: &'static str,
    /// Calls of one round.
    pub(crate) calls: u32,
}

/// The bare side: what a store must at least hold for the component's imports. The context is made
/// when it is first used, as in the host: making it costs as much as an instance.
#[derive(Default)]
struct Bare {
    wasi: Option<WasiCtx>,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: self.wasi.get_or_insert_with(|| WasiCtx::builder().build()), table: &mut self.table }
    }
}

/// Imports that do nothing: what they cost the host is the host's.
impl log::Host for Bare {
    fn log(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}

impl config::Host for Bare {
    fn get(&mut self, _: String) -> Option<String> {
        None
    }
    fn all(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl context::Host for Bare {
    fn report(&mut self, _: Option<context::Progress>) -> context::Directive {
        context::Directive::Proceed
    }
    fn remaining(&mut self) -> Option<u64> {
        None
    }
    fn sleep(&mut self, _: u64) -> context::Directive {
        context::Directive::Proceed
    }
    fn save_checkpoint(&mut self, _: Vec<u8>) -> Result<(), context::CheckpointError> {
        Ok(())
    }
    fn load_checkpoint(&mut self) -> Option<Vec<u8>> {
        None
    }
    fn parents(&mut self) -> Result<Vec<context::Parent>, context::ParentError> {
        Ok(Vec::new())
    }
    fn parent_output(&mut self, _: String) -> Result<String, context::ParentError> {
        Err(context::ParentError::NotAParent)
    }
    fn callback(&mut self) -> Option<context::Webhook> {
        None
    }
}

struct BareLoop {
    engine: Engine,
    pre: wasmtime::component::InstancePre<Bare>,
    role: GuestIndices,
    task: wire::Task,
    calls: u32,
}

impl BareLoop {
    /// The same compiler and pool as the host's, and nothing that watches the guest but the epoch.
    fn new(subject: &Subject) -> Self {
        let engine = Self::engine();
        let component = Component::new(&engine, &subject.component).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        log::add_to_linker::<_, HasSelf<Bare>>(&mut linker, |bare| bare).unwrap();
        config::add_to_linker::<_, HasSelf<Bare>>(&mut linker, |bare| bare).unwrap();
        context::add_to_linker::<_, HasSelf<Bare>>(&mut linker, |bare| bare).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        let role = GuestIndices::new(&pre).unwrap();
        let id = TaskId::generate().to_string();
        let task = wire::Task {
            idempotency_key: id.clone(),
            id,
            kind: subject.kind.to_owned(),
            input: subject.input.to_owned(),
            attempt: 1,
            max_attempts: 5,
            created_at: 0,
            deadline: None,
            attributes: Vec::new(),
        };
        Self { engine, pre, role, task, calls: subject.calls }
    }

    fn engine() -> Engine {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(256)
            .total_core_instances(256 * 64)
            .total_memories(256)
            .total_tables(256 * 4)
            .total_stacks(256)
            .max_core_instances_per_component(64)
            .max_memories_per_component(8)
            .max_tables_per_component(32)
            .max_memories_per_module(8)
            .max_tables_per_module(32)
            .table_elements(100_000)
            .max_component_instance_size(10 << 20)
            .max_core_instance_size(10 << 20)
            .linear_memory_keep_resident(256 << 10)
            .table_keep_resident(256 << 10)
            .max_unused_warm_slots(256)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .cranelift_opt_level(OptLevel::Speed)
            .epoch_interruption(true)
            .max_wasm_stack(512 << 10)
            .memory_init_cow(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Engine::new(&config).unwrap()
    }

    async fn call(&self) {
        let mut store = Store::new(&self.engine, Bare::default());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let guest: executor::Guest = self.role.load(&mut store, &instance).unwrap();
        guest.call_execute(&mut store, &self.task).await.unwrap().unwrap();
    }

    async fn round(&self) -> Duration {
        let begin = Instant::now();
        for _ in 0..self.calls {
            self.call().await;
        }
        begin.elapsed() / self.calls
    }
}

fn job(subject: &Subject) -> Job {
    let spec = Arc::new(Spec { new: NewTask::new(subject.kind, subject.input), created_at: now(), first_event: 1 });
    Job { id: TaskId::generate(), attempt: 1, spec, started_at: now(), works: 0 }
}

async fn attempt(generation: &Arc<Generation>, subject: &Subject) {
    let outcome = generation.execute(job(subject), Arc::default()).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
}

/// One attempt after the other.
async fn round(generation: &Arc<Generation>, subject: &Subject) -> Duration {
    let begin = Instant::now();
    for _ in 0..subject.calls {
        attempt(generation, subject).await;
    }
    begin.elapsed() / subject.calls
}

/// Several attempts at a time: time a piece on one thread of guests.
async fn round_abreast(generation: &Arc<Generation>, subject: &Arc<Subject>, guests: &Handle) -> Duration {
    let begin = Instant::now();
    let mut lanes = JoinSet::new();
    for _ in 0..ABREAST {
        let (generation, subject) = (Arc::clone(generation), Arc::clone(subject));
        let lane = async move {
            for _ in 0..subject.calls / ABREAST {
                attempt(&generation, &subject).await;
            }
        };
        lanes.spawn_on(lane, guests);
    }
    lanes.join_all().await;
    begin.elapsed() / (subject.calls / ABREAST * ABREAST)
}

/// Sets attempts against the bare loop.
pub(crate) async fn compare(report: &mut Report, bench: &str, subject: Subject) {
    let bare = BareLoop::new(&subject);
    let kind = subject.kind;
    // One thread of guests on both sides: what is compared is work, not the number of cores.
    let rig = Rig::new(&[(kind, subject.component.clone(), &subject.manifest)], 1, |_| {}).await;
    let generation = rig.plugins.executor(kind).expect("the plugin is live");
    let subject = Arc::new(subject);
    let (mut bare_rounds, mut rounds, mut abreast) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare_rounds.push(bare.round().await);
        // As the runner does it: on the guests' own thread.
        let (alone, what) = (Arc::clone(&generation), Arc::clone(&subject));
        rounds.push(rig.plugins.runtime().spawn(async move { round(&alone, &what).await }).await.unwrap());
        abreast.push(round_abreast(&generation, &subject, &rig.plugins.runtime()).await);
    }
    let bare = quantile(&mut bare_rounds, 0.5);
    let ratio = |time: Duration| Some((time.as_secs_f64() / bare.as_secs_f64(), "bare loop"));
    report.add(bench, &format!("{kind}_bare"), micros(bare), "us", None);
    let time = quantile(&mut abreast, 0.5);
    report.add(bench, &format!("{kind}_attempt"), micros(time), "us", ratio(time));
    let time = quantile(&mut rounds, 0.5);
    report.add(bench, &format!("{kind}_attempt_alone"), micros(time), "us", ratio(time));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    let memory = generation.peak_memory() as f64 / f64::from(1 << 20);
    report.add(bench, &format!("{kind}_memory"), memory, "MiB", None);
    rig.stop().await;
}

/// The fixture in component text, and the real echo.
pub(crate) fn run(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (echo, manifest) = built("echo");
        for (kind, component, manifest) in [("ok", fixture("ok"), String::new()), ("echo", echo, manifest)] {
            let subject = Subject { kind, component, manifest, input: r#"{"hello":"world"}"#, calls: CALLS };
            compare(report, "guest", subject).await;
        }
    });
}
