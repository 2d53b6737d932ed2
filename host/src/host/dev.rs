//! `serve --dev`: tells the author of a plugin, on the terminal, what became of every change in the folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::plugin::{GenerationInfo, PluginInfo, Plugins};
use crate::task::Digest;

/// Digits of a digest that are shown.
const SHOWN_DIGITS: usize = 12;

/// Tells changes until it is told to stop.
pub(super) async fn tell(plugins: Arc<Plugins>, stop: CancellationToken) {
    let mut changed = plugins.changed();
    let mut known = BTreeMap::new();
    loop {
        let now: BTreeMap<_, _> = plugins.list().into_iter().map(|plugin| (plugin.name.clone(), plugin)).collect();
        for line in changes(&known, &now) {
            tracing::info!(target: "taskhost::dev", "{line}");
        }
        known = now;
        // The sender lives as long as the plugins.
        let Some(Ok(())) = stop.run_until_cancelled(changed.changed()).await else { return };
    }
}

/// What is different, a line each.
fn changes(old: &BTreeMap<String, PluginInfo>, new: &BTreeMap<String, PluginInfo>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, plugin) in new {
        let before = old.get(name);
        let lived = before.and_then(|before| before.live.as_ref());
        match (&plugin.live, lived) {
            (Some(live), None) => lines.push(format!("{name}: live: {}", whole(live))),
            (Some(live), Some(lived)) if live.digest != lived.digest || live.loaded_at != lived.loaded_at => {
                lines.push(format!("{name}: replaced: {}", difference(lived, live)));
            }
            (None, Some(_)) => lines.push(format!("{name}: its file is gone")),
            (Some(_) | None, _) => {}
        }
        let draining: Vec<_> = plugin.draining.iter().map(|old| drains(old.digest, old.running)).collect();
        if !draining.is_empty() && before.is_none_or(|before| before.draining != plugin.draining) {
            lines.push(format!("{name}: {}", draining.join(", ")));
        }
        if let Some(loading) = &plugin.loading
            && before
                .and_then(|before| before.loading)
                .is_none_or(|before| before.digest != loading.digest || before.stage != loading.stage)
        {
            lines.push(format!("{name}: {} {}", loading.stage.name(), short(loading.digest)));
        }
        if let Some(error) = &plugin.error
            && before.and_then(|before| before.error.as_ref()).is_none_or(|before| before.message != error.message)
        {
            let stays = if plugin.live.is_some() { "; what was live stays" } else { "" };
            lines.push(format!("{name}: refused: {}{stays}", error.message));
        }
    }
    // One that was on its way only is not told of for the moment between that and its end.
    let told = |plugin: &PluginInfo| plugin.live.is_some() || plugin.error.is_some();
    let gone = old.iter().filter(|(name, plugin)| told(plugin) && !new.contains_key(*name));
    lines.extend(gone.map(|(name, _)| format!("{name}: gone")));
    lines
}

fn short(digest: Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(SHOWN_DIGITS);
    text
}

fn drains(digest: Digest, running: u32) -> String {
    format!("{running} attempts go on on {}", short(digest))
}

fn effort(live: &GenerationInfo) -> String {
    let how = if live.compiled.cached { "found compiled" } else { "compiled" };
    format!("{how} in {} ms", live.compiled.took_ms)
}

fn kinds(live: &GenerationInfo) -> Vec<String> {
    live.kinds.iter().map(|kind| kind.name.clone()).collect()
}

fn whole(live: &GenerationInfo) -> String {
    let mut parts = vec![format!("version {}, {}, {}", live.version, short(live.digest), effort(live))];
    parts.push(format!("roles {}", live.roles.join(", ")));
    for (what, names) in [("kinds", kinds(live)), ("grants", live.grants.clone())] {
        if !names.is_empty() {
            parts.push(format!("{what} {}", names.join(", ")));
        }
    }
    parts.join("; ")
}

fn difference(old: &GenerationInfo, new: &GenerationInfo) -> String {
    let mut parts = Vec::new();
    if old.version != new.version {
        parts.push(format!("version {} to {}", old.version, new.version));
    }
    parts.push(if old.digest == new.digest {
        format!("the same component {} with another manifest", short(new.digest))
    } else {
        format!("{} to {}, {}", short(old.digest), short(new.digest), effort(new))
    });
    let roles = |live: &GenerationInfo| live.roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>();
    for (what, old, new) in [
        ("role", roles(old), roles(new)),
        ("kind", kinds(old), kinds(new)),
        ("grant", old.grants.clone(), new.grants.clone()),
    ] {
        let lost = old.iter().filter(|name| !new.contains(name)).map(|name| format!("{what} {name} is gone"));
        let won = new.iter().filter(|name| !old.contains(name)).map(|name| format!("{what} {name} is new"));
        parts.extend(lost.chain(won));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::compile::{Effort, Stage};
    use crate::plugin::{Draining, KindInfo, LoadFailure, Loading};
    use crate::time::Timestamp;

    fn live(digest: u8, version: &str, kind: &str) -> GenerationInfo {
        let kind = KindInfo {
            name: kind.to_owned(),
            summary: String::new(),
            input_schema: None,
            output_schema: None,
            plugin: "a".to_owned(),
            concurrency: 1,
        };
        GenerationInfo {
            digest: Digest([digest; 32]),
            version: version.to_owned(),
            summary: String::new(),
            roles: vec!["executor"],
            kinds: vec![kind],
            grants: Vec::new(),
            effective: Arc::default(),
            signed: None,
            loaded_at: Timestamp::from_millis(u64::from(digest)),
            compiled: Effort { cached: false, took_ms: 12 },
            running: 0,
        }
    }

    fn plugin(live: Option<GenerationInfo>) -> BTreeMap<String, PluginInfo> {
        let plugin = PluginInfo { name: "a".to_owned(), live, draining: Vec::new(), loading: None, error: None };
        BTreeMap::from([("a".to_owned(), plugin)])
    }

    #[test]
    fn each_change_is_told_once() {
        let (none, one) = (BTreeMap::new(), plugin(Some(live(1, "1", "x"))));
        let first = "a: live: version 1, 010101010101, compiled in 12 ms; roles executor; kinds x";
        assert_eq!(changes(&none, &one), [first]);
        assert_eq!(changes(&one, &one), [] as [&str; 0]);

        let mut two = plugin(Some(GenerationInfo { grants: vec!["state".to_owned()], ..live(2, "2", "y") }));
        let ends = Timestamp::default();
        let draining =
            vec![Draining { digest: Digest([1; 32]), running: 3, since: ends, yield_at: ends, interrupt_at: ends }];
        two.get_mut("a").unwrap().draining = draining;
        assert_eq!(
            changes(&one, &two),
            [
                "a: replaced: version 1 to 2; 010101010101 to 020202020202, compiled in 12 ms; kind x is gone; \
                 kind y is new; grant state is new",
                "a: 3 attempts go on on 010101010101"
            ]
        );
        let again = GenerationInfo { loaded_at: Timestamp::from_millis(9), ..live(1, "1", "x") };
        let told = changes(&one, &plugin(Some(again)));
        assert_eq!(told, ["a: replaced: the same component 010101010101 with another manifest"]);
        assert_eq!(changes(&one, &none), ["a: gone"]);
        assert_eq!(changes(&one, &plugin(None)), ["a: its file is gone"]);
    }

    #[test]
    fn the_way_of_a_file_and_its_refusal_are_told() {
        let one = plugin(Some(live(1, "1", "x")));
        let mut on_its_way = one.clone();
        let loading = Loading { digest: Digest([2; 32]), stage: Stage::Compiling, since: Timestamp::default() };
        on_its_way.get_mut("a").unwrap().loading = Some(loading);
        let mut first = on_its_way.clone();
        first.get_mut("a").unwrap().live = None;
        assert_eq!(changes(&first, &BTreeMap::new()), [] as [&str; 0], "it is about to go live");
        assert_eq!(changes(&one, &on_its_way), ["a: compiling 020202020202"]);
        let mut refused = one.clone();
        let error = LoadFailure { at: Timestamp::default(), digest: None, message: "no such field".to_owned() };
        refused.get_mut("a").unwrap().error = Some(error);
        assert_eq!(changes(&on_its_way, &refused), ["a: refused: no such field; what was live stays"]);
        assert_eq!(changes(&refused, &refused), [] as [&str; 0]);
    }
}
