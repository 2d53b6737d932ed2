//! Says that the host is not ready while plugins that were in the folder when it started are still being loaded.
//!
//! A large component takes longer to compile than a start waits; the work of everybody else begins meanwhile.
//! What is put into the folder later makes a host that serves others no less ready.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::api::{PLUGINS, Readiness};
use crate::plugin::Plugins;

/// Looks at once; the future ends with the last of them, or with the host.
pub(super) fn tell(
    plugins: Arc<Plugins>,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) -> impl Future<Output = ()> {
    let mut changed = plugins.changed();
    let mut coming: BTreeSet<String> = plugins.coming().into_iter().collect();
    let say = move |coming: &BTreeSet<String>| {
        let names: Vec<&str> = coming.iter().map(String::as_str).collect();
        readiness.set(PLUGINS, (!names.is_empty()).then(|| format!("still being loaded: {}", names.join(", "))));
    };
    say(&coming);
    async move {
        while !coming.is_empty() && matches!(stop.run_until_cancelled(changed.changed()).await, Some(Ok(()))) {
            let now = plugins.coming();
            coming.retain(|name| now.contains(name));
            say(&coming);
        }
    }
}
