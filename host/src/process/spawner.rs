//! The thread that starts every child.
//!
//! A thread of its own, because Linux ties a child's death signal to the *thread* that started it:
//! `setpriv --pdeathsig KILL` then makes the kernel end the children of a host that was killed.
//! Where `setpriv` cannot do that, children of a killed host run to their end or their limits.
//! `prlimit`, of the same package, sets the limits before the program itself begins.

use std::any::Any;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::mark::Mark;
use super::{Command, OnBytes, ResourceLimits, SpawnError, Stdout};

/// What goes along with a running child.
pub(super) struct Watch {
    pub(super) stdout: Stdout,
    pub(super) stderr_tail_bytes: usize,
    pub(super) on_stderr: Option<OnBytes>,
    pub(super) mark: Option<Mark>,
    pub(super) held: Option<Box<dyn Any + Send>>,
}

type Reply = Result<(Child, Watch), SpawnError>;
type Request = (Command, oneshot::Sender<Reply>);

/// Where the helper that sets the death signal is looked for.
const SETPRIV: [&str; 2] = ["/usr/bin/setpriv", "/bin/setpriv"];
const SETPRIV_ARGS: [&str; 4] = ["--no-new-privs", "--pdeathsig", "KILL", "--"];
/// Where the helper that sets limits is looked for.
const PRLIMIT: [&str; 2] = ["/usr/bin/prlimit", "/bin/prlimit"];

/// Programs that prepare a process and then become the one that was asked for.
struct Helpers {
    setpriv: Option<PathBuf>,
    prlimit: Option<PathBuf>,
}

pub(super) struct Spawner {
    thread: Mutex<Option<(mpsc::Sender<Request>, JoinHandle<()>)>>,
}

impl Spawner {
    pub(super) fn start(runtime: Handle) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let thread = std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let helpers = Helpers { setpriv: works(&SETPRIV, &SETPRIV_ARGS), prlimit: works(&PRLIMIT, &[]) };
            let _context = runtime.enter();
            while let Ok((command, reply)) = inbox.recv() {
                // A child that nobody takes is killed when it is dropped.
                let _ = reply.send(start(command, &helpers));
            }
        })?;
        Ok(Self { thread: Mutex::new(Some((requests, thread))) })
    }

    pub(super) async fn spawn(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let sent = match &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((requests, _)) => requests.send((command, reply)).is_ok(),
            None => false,
        };
        if !sent {
            return Err(SpawnError::Stopped);
        }
        answer.await.unwrap_or(Err(SpawnError::Stopped))
    }

    /// Ends the thread and, with it, children that are still there.
    pub(super) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((requests, thread)) = thread {
            drop(requests);
            if thread.join().is_err() {
                tracing::error!("the thread that starts processes panicked");
            }
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A helper that is there and knows these arguments.
fn works(places: &[&str], args: &[&str]) -> Option<PathBuf> {
    let path = places.iter().map(PathBuf::from).find(|path| path.is_file())?;
    // One that takes a command is given itself; without arguments its version is enough.
    let mut check = std::process::Command::new(&path);
    if !args.is_empty() {
        check.args(args).arg(&path);
    }
    let works = check
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    works.then_some(path)
}

/// The whole command line: the helpers that are there, then the program.
fn command_line(program: PathBuf, limits: &ResourceLimits, mark: Option<Mark>, helpers: &Helpers) -> Vec<OsString> {
    let mut line = Vec::new();
    if let Some(setpriv) = &helpers.setpriv {
        line.push(setpriv.into());
        line.extend(SETPRIV_ARGS.map(OsString::from));
    }
    if let Some(prlimit) = &helpers.prlimit {
        line.push(prlimit.into());
        line.extend(limits.arguments());
        line.extend(mark.map(Mark::argument));
        line.push("--".into());
    }
    line.push(program.into());
    line
}

/// Files that the child inherits under the numbers that they have here. Nothing else is started by this thread, and
/// they are closed as soon as the child has them.
struct Inherited(Vec<OwnedFd>);

impl Inherited {
    /// Opens a file once more, not to be closed by `exec`, and answers its number.
    fn add(&mut self, file: &File) -> io::Result<i32> {
        let file = rustix::io::dup(file)?;
        let number = file.as_raw_fd();
        self.0.push(file);
        Ok(number)
    }
}

fn start(command: Command, helpers: &Helpers) -> Reply {
    let Command { program, executable, mut args, files, env, stdin, cwd, limits, stdout, stderr_tail_bytes, .. } =
        command;
    let refused = |source| SpawnError::Refused { program: program.clone(), source };
    let mut inherited = Inherited(Vec::new());
    let run = match executable {
        Some(file) => format!("/proc/self/fd/{}", inherited.add(&file).map_err(refused)?).into(),
        None if program.is_absolute() && program.is_file() => program.clone(),
        None => return Err(SpawnError::NotFound(program)),
    };
    for (index, file) in &files {
        let number = inherited.add(file).map_err(refused)?;
        if let Some(argument) = args.get_mut(*index) {
            *argument = format!("/dev/fd/{number}").into();
        }
    }
    let mark = if command.whole_tree { Mark::generate() } else { None };
    let mut line = command_line(run, &limits, mark, helpers).into_iter();
    let mut system = tokio::process::Command::new(line.next().unwrap_or_default());
    system.args(line);
    let output = if matches!(stdout, Stdout::Discard) { Stdio::null() } else { Stdio::piped() };
    system
        .args(args)
        .env_clear()
        .envs(env)
        .current_dir(cwd)
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(output)
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = system.spawn().map_err(refused)?;
    if let Some(group) = group_of(&child)
        && let Err(error) = limits.apply(group).and_then(|()| mark.map_or(Ok(()), |mark| mark.apply(group)))
    {
        // An unbounded child is not run. It is reaped by the runtime after it is dropped.
        let _ = kill_process_group(group, Signal::KILL);
        return Err(refused(error));
    }
    let (on_stderr, held) = (command.on_stderr, command.held);
    Ok((child, Watch { stdout, stderr_tail_bytes, on_stderr, mark, held }))
}

/// The group that a child leads, until it is reaped.
pub(super) fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}
