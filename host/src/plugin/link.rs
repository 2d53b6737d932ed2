//! From a component to code that is ready to run: what it imports is compared with what it was
//! granted before anything is linked, so that a refusal can say what to change.

pub(super) mod binary;
mod http;
mod imports;
mod linker;
mod mismatch;
mod role;
mod tools;

pub use self::http::{HostName, HostPattern, HttpGrant, HttpLimits, HttpRule, PathPattern, Place, Scheme};
pub(super) use self::http::{Target, decide};
pub(super) use self::imports::{capability, refused, roles_of};
pub use self::role::Role;
pub use self::tools::{FfmpegGrant, FfmpegOperation};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use wasmtime::component::InstancePre;

use crate::secret::{Censor, Secret};
use crate::task::{Digest, NewTask};

use super::InputError;
use super::command::CommandGrant;
use super::contract::{self, actuator, collector, dispatcher, executor, metadata};
use super::engine::{Compiled, Sandbox, Shared};
use super::guest::Guest;
use super::guest::warm::Nest;
use super::limits::Limits;
use super::rate::Rate;
use super::rehearsal;

pub use self::mismatch::{Direction, Mismatch};

/// Durable state is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateGrant {
    /// Bytes of keys and values that the plugin may keep.
    pub quota_bytes: u64,
}

/// Creating tasks is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueGrant {
    /// Kinds that may be created: exact (`video.cut`) or everything below a word (`video.*`).
    pub kinds: Vec<String>,
    /// How many within a second, in thousandths; as many as an outbox holds when absent.
    pub per_second: Option<u64>,
    /// How many at once; one second's worth, at least one, when absent.
    pub burst: Option<u32>,
}

impl QueueGrant {
    /// The rate, when there is one.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.per_second.map(|per_second| Rate::new(per_second, self.burst))
    }
}

/// The media library is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryGrant {
    /// Adding too, not only reading.
    pub add: bool,
    /// Adding, trashing and purging too.
    pub write: bool,
}

/// What an operator lets a plugin ask of the host. Nothing, unless said; logging, the plugin's own
/// settings and its own attempt are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `state`.
    pub state: Option<StateGrant>,
    /// `queue`.
    pub queue: Option<QueueGrant>,
    /// `library`.
    pub library: Option<LibraryGrant>,
    /// `ffmpeg`.
    pub ffmpeg: Option<FfmpegGrant>,
    /// `command`, by name; not granted when there is none.
    pub command: BTreeMap<String, CommandGrant>,
    /// `http` and `http_limits`.
    pub http: HttpGrant,
}

/// What becomes of a component when it is linked.
#[derive(Clone, Debug)]
pub struct LinkRequest {
    /// The plugin's name: its state's namespace, and what messages call it.
    pub name: String,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Its bounds.
    pub limits: Limits,
    /// What it may ask of the host.
    pub grants: Grants,
    /// The operator's settings for it.
    pub config: Vec<(String, String)>,
}

/// Decides whether a task that a guest wants to create would be accepted.
pub trait TaskCheck: Send + Sync {
    /// Whether some live plugin executes `kind` and takes `input`.
    fn check(&self, kind: &str, input: &str) -> Result<(), InputError>;
}

/// A kind, as its executor describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// JSON Schema text of the input.
    pub input_schema: Option<String>,
    /// JSON Schema text of the output.
    pub output_schema: Option<String>,
    /// Wall time of an attempt when the task does not say, in milliseconds.
    pub default_timeout_ms: Option<u64>,
    /// Free-form labels.
    pub attributes: Vec<(String, String)>,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it calls itself.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// What it executes.
    pub kinds: Vec<Kind>,
    /// Free-form labels.
    pub attributes: Vec<(String, String)>,
}

/// What a dispatcher answered: within the bounds, but neither kinds nor inputs are checked, and the
/// tasks' source is for the caller to set.
#[derive(Clone, Debug)]
pub struct RawBatch {
    /// Tasks to create, at most as many as were asked for.
    pub tasks: Vec<NewTask>,
    /// Where the dispatcher goes on.
    pub cursor: Option<Vec<u8>>,
    /// More is ready now.
    pub more: bool,
}

/// Why a file does not become a generation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing in it.
    #[error("the file is empty; was it still being copied?")]
    Empty,
    /// Something else under the wrong name.
    #[error("not WebAssembly: the file does not start with `\\0asm`")]
    NotWasm,
    /// A module from before the component model.
    #[error(
        "a core module, not a component: build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// The end is missing.
    #[error("truncated: the file has {have} bytes and announces {need}; was it still being copied?")]
    Truncated {
        /// Bytes of the file.
        have: usize,
        /// Bytes that it should at least have.
        need: usize,
    },
    /// The compiler refuses it.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// Compiling it takes more than it may.
    #[error("cannot be compiled: {0}")]
    Compile(String),
    /// It asks for what it was not granted.
    #[error(
        "imports {import} but plugin {plugin:?} is not granted the capability {capability:?}: add {lines} in plugins/{plugin}.toml",
        lines = imports::granting(capability)
    )]
    NotGranted {
        /// The interface.
        import: String,
        /// The plugin.
        plugin: String,
        /// The capability's name in a manifest.
        capability: &'static str,
    },
    /// Its manifest fills in a secret that nobody has.
    #[error(
        "the manifest fills in the secret {name}, which this host does not have: add `{name} = {{ env = \"VARIABLE\" }}` or `{name} = {{ file = \"PATH\" }}` under [secrets] in the host's configuration"
    )]
    NoSecret {
        /// The secret's name.
        name: String,
    },
    /// It asks for what this host does not have.
    #[error("imports {import}, which this host does not provide; it provides {provided}")]
    UnknownImport {
        /// What was asked for.
        import: String,
        /// What there is.
        provided: String,
    },
    /// It was built for another version of the contract.
    #[error("{item} is of another version of the contract; this host speaks {VERSION}. {remedy}", VERSION = contract::VERSION)]
    OtherVersion {
        /// The import or export, in words.
        item: String,
        /// What to do, by which of the two is newer.
        remedy: &'static str,
    },
    /// An interface of the right name and version has another shape.
    #[error("does not match the contract: {0}")]
    Differs(Mismatch),
    /// The linker refuses it for another reason.
    #[error("cannot be linked: {0}")]
    Mismatch(String),
    /// Every plugin describes itself.
    #[error("not a plugin: it does not export taskhost:plugin/metadata@{VERSION}", VERSION = contract::VERSION)]
    NoMetadata,
    /// Nothing that this host could call.
    #[error("a plugin without work: it exports none of taskhost:plugin/executor@{VERSION}, taskhost:plugin/actuator@{VERSION} and taskhost:plugin/dispatcher@{VERSION}", VERSION = contract::VERSION)]
    NoRole,
    /// More memories or tables than the pool of instances can hold.
    #[error(
        "an instance takes {need} places in the pool of instances, which has {have}: raise the number of instances"
    )]
    TooBig {
        /// Places that it takes.
        need: u32,
        /// Places that there are.
        have: u32,
    },
    /// Asked what it is, it did not answer.
    #[error("it cannot describe itself: {0}")]
    Describe(String),
    /// It does not like its settings.
    #[error("it refuses its [config]: {0}")]
    Config(String),
    /// The host had no time or room to ask it; it may be sound.
    #[error("the host is too busy to load it: {0}")]
    Busy(String),
}

/// A generation's code, ready to run.
pub(super) struct Code {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) grants: Grants,
    pub(super) config: Vec<(String, String)>,
    /// Secrets that are filled into its requests.
    pub(super) secrets: Box<[(String, Secret)]>,
    /// Hides them wherever the host shows what it wrote.
    pub(super) censor: Arc<Censor>,
    pub(super) tasks: Arc<dyn TaskCheck>,
    pub(super) pre: InstancePre<Guest>,
    pub(super) metadata: metadata::GuestIndices,
    pub(super) executor: Option<executor::GuestIndices>,
    pub(super) dispatcher: Option<dispatcher::GuestIndices>,
    pub(super) actuator: Option<actuator::GuestIndices>,
    pub(super) collector: Option<collector::GuestIndices>,
    /// Places of the pool that an instance takes.
    pub(super) places: u32,
    /// Instances between two attempts.
    pub(super) nest: Arc<Nest>,
    /// The most memory that an attempt has held, in bytes.
    pub(super) peak_memory: AtomicU64,
}

/// One generation of one plugin: compiled, checked against its grants, linked.
pub struct Linked {
    pub(super) code: Arc<Code>,
    digest: Digest,
    roles: Vec<Role>,
}

impl std::fmt::Debug for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linked").field("plugin", &self.code.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Idle instances hold the code that they belong to.
impl Drop for Linked {
    fn drop(&mut self) {
        self.code.nest.retire();
    }
}

impl Linked {
    /// What it exports.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// SHA-256 of the component.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Sandbox {
    /// Compares what a component imports with what it is granted, and links exactly that.
    pub fn link(
        &self,
        compiled: &Compiled,
        request: LinkRequest,
        tasks: Arc<dyn TaskCheck>,
    ) -> Result<Arc<Linked>, LoadError> {
        Self::link_in(&self.shared, compiled, request, tasks)
    }

    /// The same, but nothing that its guests do stays.
    pub(super) fn link_rehearsal(
        &self,
        compiled: &Compiled,
        request: LinkRequest,
        tasks: Arc<dyn TaskCheck>,
    ) -> Result<Arc<Linked>, LoadError> {
        let shared = self.shared.with_ports(rehearsal::ports(&self.shared.ports));
        Self::link_in(&Arc::new(shared), compiled, request, tasks)
    }

    fn link_in(
        shared: &Arc<Shared>,
        compiled: &Compiled,
        request: LinkRequest,
        tasks: Arc<dyn TaskCheck>,
    ) -> Result<Arc<Linked>, LoadError> {
        let component = &compiled.component;
        if let Some(first) = imports::refused(component, &request.name, &request.grants).into_iter().next() {
            return Err(first);
        }
        let roles = imports::roles(component)?;
        mismatch::check(component).map_err(LoadError::Differs)?;
        let places = compiled.places().ok_or_else(|| mismatch("it imports core modules"))?;
        let have = shared.total_places;
        if places > have {
            return Err(LoadError::TooBig { need: places, have });
        }
        let secrets = secrets(shared, &request.grants)?;
        let linker = linker::linker(shared, &request.grants).map_err(|error| mismatch(&format!("{error:#}")))?;
        let pre = linker.instantiate_pre(component).map_err(|error| mismatch(&format!("{error:#}")))?;
        let wrong = |error: wasmtime::Error| mismatch(&format!("{error:#}"));
        let executor = roles.contains(&Role::Executor).then(|| executor::GuestIndices::new(&pre));
        let dispatcher = roles.contains(&Role::Dispatcher).then(|| dispatcher::GuestIndices::new(&pre));
        let actuator = roles.contains(&Role::Actuator).then(|| actuator::GuestIndices::new(&pre));
        let collector = roles.contains(&Role::Collector).then(|| collector::GuestIndices::new(&pre));
        let code = Code {
            shared: shared.clone(),
            metadata: metadata::GuestIndices::new(&pre).map_err(wrong)?,
            executor: executor.transpose().map_err(wrong)?,
            dispatcher: dispatcher.transpose().map_err(wrong)?,
            actuator: actuator.transpose().map_err(wrong)?,
            collector: collector.transpose().map_err(wrong)?,
            pre,
            places,
            name: request.name,
            limits: request.limits,
            grants: request.grants,
            config: request.config,
            censor: Arc::new(Censor::of(&secrets)),
            secrets,
            tasks,
            nest: shared.nests.add(),
            peak_memory: AtomicU64::new(0),
        };
        // Now rather than in the first attempt. When it fails instances are merely slower to make.
        if let Err(error) = component.initialize_copy_on_write_image() {
            tracing::warn!(plugin = code.name, "no memory image: {error:#}");
        }
        Ok(Arc::new(Linked { code: Arc::new(code), digest: request.digest, roles }))
    }
}

fn mismatch(reason: &str) -> LoadError {
    LoadError::Mismatch(reason.to_owned())
}

/// The secrets that a manifest names, each once.
fn secrets(shared: &Shared, grants: &Grants) -> Result<Box<[(String, Secret)]>, LoadError> {
    let names: BTreeSet<_> = grants.http.secrets().collect();
    let find = |name: &String| match shared.ports.outside.secrets.get(name) {
        Some(secret) => Ok((name.clone(), secret)),
        None => Err(LoadError::NoSecret { name: name.clone() }),
    };
    names.into_iter().map(find).collect()
}
