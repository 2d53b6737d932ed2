//! Replacing a plugin while it works.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::video::{create, finished, text};
use super::{Stage, note, step};
use crate::deadline::{Deadline, now};
use crate::plugins::{PLUGINS, place};

/// Waits until every plugin is live, and shows them.
pub(super) fn wait_for_plugins(stage: &Stage) -> Result<()> {
    step("Looking at the plugins");
    for (name, _) in PLUGINS {
        let plugin = Deadline::seconds(60).until(&format!("the plugin {name}"), || {
            let plugin = find(stage, name)?;
            if let Some(error) = plugin.pointer("/error/message") {
                bail!("the plugin {name} is not live: {error}");
            }
            Ok(Some(plugin).filter(|plugin| plugin.pointer("/live/digest").is_some()))
        })?;
        let roles = plugin.pointer("/live/roles").unwrap_or(&Value::Null);
        note(&format!("{name} {} is live: {roles}", text(&plugin, "/live/version")?));
    }
    Ok(())
}

fn find(stage: &Stage, name: &str) -> Result<Value> {
    let mut answer = stage.client.get("/v1/plugins", &[])?.json()?;
    let plugins = answer.pointer_mut("/plugins").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    Ok(plugins.into_iter().find(|plugin| plugin["name"] == name).unwrap_or(Value::Null))
}

/// Puts a second version of echo in place of the first while the first runs a task.
pub(super) fn swap(stage: &Stage, second: &Path) -> Result<()> {
    step("Replacing the plugin echo by its second version while a task runs on the first");
    let input = json!({ "hello": "world" });
    let (before, first_digest) = echo(stage, &input)?;
    if before != input {
        bail!("echo answered {before}, not {input}");
    }
    note(&format!("before: {before} by {}", short(&first_digest)));

    let running = create(stage, "echo", &json!({ "sleep_ms": 1500 }))?;
    stage.events.find("the sleeping task to start", |event| {
        (event["type"] == "task.started" && event["task"] == running.as_str()).then_some(())
    })?;
    let swapped = now();
    place(second, &stage.dir.join("plugins/echo.wasm"))?;
    Deadline::seconds(60).until("the second version to go live", || {
        let live = find(stage, "echo")?.pointer("/live/digest").and_then(Value::as_str).map(str::to_owned);
        Ok(live.filter(|live| *live != first_digest))
    })?;
    note(&format!("the new file is live after {} ms", swapped.elapsed().as_millis()));

    let (after, second_digest) = echo(stage, &input)?;
    if after != json!([input, input]) || second_digest == first_digest {
        bail!("the second version answered {after} by {second_digest}");
    }
    note(&format!("after:  {after} by {}", short(&second_digest)));
    let ended = finished(stage, &running)?;
    if text(&ended, "/attempts/0/digest")? != first_digest {
        bail!("the task that ran during the swap did not stay on the first version: {ended}");
    }
    note(&format!("the task that ran meanwhile ended on {}", short(&first_digest)));
    Ok(())
}

/// Runs one echo task; answers its output and the digest of the plugin that ran it.
fn echo(stage: &Stage, input: &Value) -> Result<(Value, String)> {
    let id = create(stage, "echo", input)?;
    let task = finished(stage, &id)?;
    let digest = text(&task, "/attempts/0/digest")?;
    Ok((task.pointer("/output").cloned().unwrap_or_default(), digest))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
