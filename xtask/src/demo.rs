//! The whole thing at work, on real parts: a real host, real plugins, a real video.

mod host;
mod library;
mod swap;
mod video;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::http::{Client, Events};
use crate::shell::say;
use crate::{plugins, tools};
use host::Host;

/// How to run the demo.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Leave the host running at the end, and say where
    #[arg(long)]
    keep: bool,
    /// Build the host with optimisations
    #[arg(long)]
    release: bool,
}

/// What every step needs.
struct Stage {
    client: Client,
    events: Events,
    dir: PathBuf,
}

/// Runs every step, and says in plain words what it does and sees.
pub(crate) fn run(options: &Options) -> Result<()> {
    step("Preparing: the WebAssembly target and ffmpeg");
    tools::need_wasm_target()?;
    tools::need_ffmpeg()?;
    step("Building the plugins and the host");
    let second_echo = plugins::build_second_echo()?;
    let plugins = plugins::build()?;
    let binary = host::build(options.release)?;

    let dir = std::env::temp_dir().join(format!("taskhost-demo-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let host = Host::start(&binary, &plugins, &dir, options.keep)?;
    let shown = host.wait_until_ready().and_then(|address| {
        let client = Client::new(&address);
        let stage = Stage { events: client.events()?, client, dir: dir.clone() };
        show(&stage, &second_echo).map(|()| address)
    });
    match shown {
        Ok(address) if options.keep => {
            say(&format!("\nDone. The host is still running at http://{address}, with its data in {}.", dir.display()));
            say(&format!("To stop it: kill {}", host.leave_running()));
            Ok(())
        }
        Ok(_) => {
            step("Stopping the host with SIGTERM");
            host.stop()?;
            note("it ended with exit code 0");
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            say("\nDone: everything worked.");
            Ok(())
        }
        Err(error) => {
            let log = host.log_tail();
            Err(error.context(format!("the demo failed; its files are in {}\n{log}", dir.display())))
        }
    }
}

fn show(stage: &Stage, second_echo: &std::path::Path) -> Result<()> {
    swap::wait_for_plugins(stage)?;
    let original = video::upload(stage)?;
    let keyframe = video::cut(stage, &original, &video::Cut::KEYFRAME)?;
    let exact = video::cut(stage, &original, &video::Cut::EXACT)?;
    library::stream(stage, &exact)?;
    library::trash_and_restore(stage, &keyframe)?;
    library::trash_and_clear(stage, &keyframe)?;
    swap::swap(stage, second_echo)
}

/// Begins a step.
fn step(what: &str) {
    say(&format!("\n-- {what}"));
}

/// Something that was seen in a step.
fn note(what: &str) {
    say(&format!("   {what}"));
}
