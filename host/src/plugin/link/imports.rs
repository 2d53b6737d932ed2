//! What a component imports and exports, against the contract and against what it was granted.

use taskhost_shape::Newer;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::mismatch::remedy;
use super::{Grants, LoadError, Role};
use crate::plugin::contract::VERSION;

/// Interfaces that every plugin has. The first two only name types.
const ALWAYS: [&str; 5] =
    ["taskhost:task/types", "taskhost:media/ids", "taskhost:host/log", "taskhost:host/config", "taskhost:host/context"];

/// What of WASI is there: everything that version 0.2 calls `wasi:cli/imports`, with nothing to reach through it.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

const METADATA: &str = "taskhost:plugin/metadata";

const ROLES: [(&str, Role); 4] = [
    ("taskhost:plugin/dispatcher", Role::Dispatcher),
    ("taskhost:plugin/executor", Role::Executor),
    ("taskhost:plugin/actuator", Role::Actuator),
    ("taskhost:plugin/collector", Role::Collector),
];

/// Interfaces that need a grant, and the capability that it is called.
fn capabilities(grants: &Grants) -> [(&'static str, &'static str, bool); 7] {
    [
        ("taskhost:host/state", "state", grants.state.is_some()),
        ("taskhost:host/queue", "queue", grants.queue.is_some()),
        ("taskhost:media/library", "library", grants.library.is_some()),
        ("taskhost:media/ffmpeg", "ffmpeg", grants.ffmpeg.is_some()),
        ("taskhost:exec/command", "command", !grants.command.is_empty()),
        ("wasi:http/types", "http", grants.http.is_given()),
        ("wasi:http/outgoing-handler", "http", grants.http.is_given()),
    ]
}

/// The capability that an import needs, if any.
pub(in crate::plugin) fn capability(import: &str) -> Option<&'static str> {
    let interface = import.split('@').next();
    let found = capabilities(&Grants::default()).into_iter().find(|(name, ..)| Some(*name) == interface);
    found.map(|(_, capability, _)| capability)
}

/// The roles that exports stand for, whatever version of the contract they are of.
pub(in crate::plugin) fn roles_of(exports: &[String]) -> Vec<&'static str> {
    let has = |interface: &str| exports.iter().any(|export| export.split('@').next() == Some(interface));
    ROLES.iter().filter(|(interface, _)| has(interface)).map(|(_, role)| role.name()).collect()
}

/// Each import that cannot be linked, and what would be right.
pub(in crate::plugin) fn refused(component: &Component, plugin: &str, grants: &Grants) -> Vec<LoadError> {
    let ty = component.component_type();
    let engine = component.engine();
    // An interface that only lends the names of its types to another one needs no grant: it is not linked.
    let only_types = |item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => true,
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => false,
    };
    ty.imports(engine)
        .filter(|(_, import)| !only_types(&import.ty))
        .filter_map(|(import, _)| check_import(import, plugin, grants).err())
        .collect()
}

fn check_import(import: &str, plugin: &str, grants: &Grants) -> Result<(), LoadError> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    if WASI.iter().any(|package| interface.starts_with(package)) {
        // The linker knows which versions of them it has.
        return Ok(());
    }
    let capabilities = capabilities(grants);
    let needed = capabilities.iter().find(|(name, ..)| *name == interface);
    if needed.is_none() && !ALWAYS.contains(&interface) {
        let names = ALWAYS.iter().chain(capabilities.iter().map(|(name, ..)| name)).copied();
        let provided = names.chain(WASI.map(|package| package.trim_end_matches('/'))).collect::<Vec<_>>().join(", ");
        return Err(LoadError::UnknownImport { import: import.to_owned(), provided });
    }
    // The linker knows which versions of WASI it has.
    if !interface.starts_with("wasi:") && !speaks(version) {
        return Err(other_version(format!("its import {import}"), version));
    }
    match needed {
        Some((_, capability, false)) => {
            Err(LoadError::NotGranted { import: import.to_owned(), plugin: plugin.to_owned(), capability })
        }
        Some(_) | None => Ok(()),
    }
}

/// What grants a capability, for a message.
pub(super) fn granting(capability: &str) -> String {
    match capability {
        "http" => "`[[grant.http]] host = \"HOST\"` for each host that it may ask (JavaScript that asks nobody is \
                   built with `--disable http fetch-event`)"
            .to_owned(),
        "command" => "a section `[grant.command.NAME]` with the `program` of each command".to_owned(),
        capability => format!("`{capability} = true` under [grant]"),
    }
}

/// Before 1.0 the minor version must be equal; a newer patch of the contract only adds.
fn speaks(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(VERSION)
}

fn other_version(item: String, version: &str) -> LoadError {
    // Something without a version is from before there were any.
    let numbers =
        |version: &str| -> Vec<u64> { version.split(['.', '-']).map_while(|part| part.parse().ok()).collect() };
    let newer = if numbers(version) > numbers(VERSION) { Newer::Right } else { Newer::Left };
    LoadError::OtherVersion { item, remedy: remedy(newer) }
}

/// The roles of a plugin; at least one that this host can run.
pub(super) fn roles(component: &Component) -> Result<Vec<Role>, LoadError> {
    let ty = component.component_type();
    let exports: Vec<_> = ty.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
    let has = |interface: &str| -> Result<bool, LoadError> {
        let Some(export) = exports.iter().find(|export| export.split('@').next() == Some(interface)) else {
            return Ok(false);
        };
        let version = export.split_once('@').map_or("", |(_, version)| version);
        if speaks(version) { Ok(true) } else { Err(other_version(format!("its export {export}"), version)) }
    };
    if !has(METADATA)? {
        return Err(LoadError::NoMetadata);
    }
    let mut roles = Vec::new();
    for (interface, role) in ROLES {
        if has(interface)? {
            roles.push(role);
        }
    }
    if roles.iter().all(|role| *role == Role::Collector) {
        return Err(LoadError::NoRole);
    }
    Ok(roles)
}
