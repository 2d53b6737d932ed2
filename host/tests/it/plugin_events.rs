//! What happens to plugins is told as events, once, also over restarts.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::reload::sha256;
use crate::support::admin::Admin;
use crate::support::events::{Event, Events};
use crate::support::folder::{fixture, padded, variant};
use crate::support::{Home, TestHost};

fn version(output: &str) -> Vec<u8> {
    variant("version", "v00", output)
}

/// The next events must be these: name, digest, and the cause or the beginning of the reason.
async fn told(events: &mut Events, expected: &[(&str, &[u8], &str)]) -> Event {
    let mut last = Event::default();
    for (name, component, why) in expected {
        last = events.next().await.unwrap();
        let because = last.data["cause"].as_str().or(last.data["reason"].as_str()).unwrap_or_default();
        let digest = last.data["digest"].as_str().unwrap_or_default();
        assert_eq!((last.name.as_str(), digest), (*name, sha256(component).as_str()), "{last:#?}");
        assert!(because.starts_with(why) && because.is_empty() == why.is_empty(), "{last:#?}");
        assert_eq!(last.data["plugin"], "version", "{last:#?}");
    }
    last
}

async fn of_version(host: &TestHost, last: Option<&str>) -> Events {
    host.events_of("?plugin=version", last).await
}

#[tokio::test]
async fn i2_every_change_of_a_plugin_is_told_in_its_order() {
    let host = Home::new().start().await;
    let admin = Admin::of(&host);
    let mut events = of_version(&host, None).await;
    let (first, second, broken) = (version("v01"), version("v02"), b"no component".to_vec());
    assert_eq!(admin.put("version", first.clone()).await.0, StatusCode::CREATED);
    told(&mut events, &[("plugin.live", &first, "upload")]).await;
    // Nobody hears of other plugins here, of what is refused before it changes anything, and of what is live already.
    assert_eq!(admin.put("other", fixture("ok")).await.0, StatusCode::CREATED);
    assert_eq!(admin.put("version", broken.clone()).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(admin.put("version", first.clone()).await.0, StatusCode::OK);

    host.plugins().put("version", &second, None);
    told(&mut events, &[("plugin.live", &second, "file"), ("plugin.drained", &first, "")]).await;
    host.plugins().put("version", &broken, None);
    told(&mut events, &[("plugin.refused", &broken, "not WebAssembly")]).await;
    assert_eq!(admin.roll_back("version").await.0, StatusCode::OK);
    told(&mut events, &[("plugin.live", &first, "rollback"), ("plugin.drained", &second, "")]).await;
    assert_eq!(admin.put_manifest("version", "[limits]\nconcurrency = 2\n").await.0, StatusCode::OK);
    told(&mut events, &[("plugin.live", &first, "upload"), ("plugin.drained", &first, "")]).await;
    assert_eq!(admin.delete("version").await.0, StatusCode::NO_CONTENT);
    told(&mut events, &[("plugin.removed", &first, ""), ("plugin.drained", &first, "")]).await;
    host.stop().await;
}

#[tokio::test]
async fn i2_a_restart_tells_what_has_changed_and_nothing_else() {
    let host = Home::new().start().await;
    let mut events = of_version(&host, None).await;
    let (first, second) = (version("v01"), version("v02"));
    host.plugins().put("version", &first, None);
    let last = told(&mut events, &[("plugin.live", &first, "file")]).await;

    let home = host.restart().await.stop().await;
    home.plugins().put("version", &second, None);
    let host = home.start().await;
    let mut events = of_version(&host, Some(&last.id)).await;
    let last = told(&mut events, &[("plugin.live", &second, "file")]).await;
    let home = host.stop().await;
    home.plugins().delete("version");
    let host = home.start().await;
    let mut events = of_version(&host, Some(&last.id)).await;
    told(&mut events, &[("plugin.removed", &second, "")]).await;
    host.plugins().put("version", &second, None);
    told(&mut events, &[("plugin.live", &second, "file")]).await;
    host.stop().await;
}

#[tokio::test]
async fn a_generation_is_told_as_drained_when_its_last_attempt_has_ended() {
    let host = TestHost::with(&["wait"]).await;
    let admin = Admin::of(&host);
    let mut events = host.events().await;
    let task = host.enqueue("wait", &json!({})).await;
    events.task(&task, "task.started").await;
    let mut events = host.events_of("?type=plugin.live,plugin.drained", None).await;
    assert_eq!(admin.put("wait", padded(&fixture("wait"), 1)).await.0, StatusCode::OK);
    assert_eq!(admin.put("ok", fixture("ok")).await.0, StatusCode::CREATED);
    let (live, other) = (events.next().await.unwrap(), events.next().await.unwrap());
    assert_eq!((live.name.as_str(), &live.data["plugin"]), ("plugin.live", &json!("wait")));
    assert_eq!((other.name.as_str(), &other.data["plugin"]), ("plugin.live", &json!("ok")), "it drains still");
    host.cancel(&task).await;
    let drained = events.next().await.unwrap();
    let about = (&drained.data["plugin"], &drained.data["digest"]);
    assert_eq!((drained.name.as_str(), about), ("plugin.drained", (&json!("wait"), &json!(sha256(&fixture("wait"))))));
    assert_eq!(host.get("/v1/plugins/wait").await["draining"], Value::Array(Vec::new()));
    host.stop().await;
}
