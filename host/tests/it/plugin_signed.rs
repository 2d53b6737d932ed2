//! Signatures in uploads and rollbacks, on a host that may require them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};
use taskhost::plugin::signature::{NewKeys, comment, generate, sign};

use crate::reload::sha256;
use crate::support::admin::Admin;
use crate::support::folder::variant;
use crate::support::{Home, TestHost};

/// The version that the fixture says it has: none.
const VERSION: &str = "";

fn component(output: &str) -> Vec<u8> {
    variant("version", "v00", output)
}

/// A signature of a component as the plugin `name`.
fn signature(keys: &NewKeys, name: &str, component: &[u8]) -> String {
    let comment = comment(name, VERSION, sha256(component).parse().unwrap());
    sign(&keys.secret, None, component, &comment).unwrap()
}

/// A home whose host trusts these keys.
fn home(keys: &NewKeys, required: bool) -> Home {
    Home::new().configure(|config| {
        config.plugins.trusted_keys = vec![keys.line.clone()];
        config.plugins.require_signature = required;
    })
}

/// Every file of the plugins folder.
fn folder(host: &TestHost) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = crate::support::files(host.plugins().component("version").parent().unwrap());
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Its live digest and its folder: what a refusal leaves as it is.
async fn state(host: &TestHost) -> (Value, BTreeMap<PathBuf, Vec<u8>>) {
    let live = host.plugin("version").await.map_or(Value::Null, |plugin| plugin["live"]["digest"].clone());
    (live, folder(host))
}

async fn output(host: &TestHost) -> Value {
    host.run("version", &json!({})).await["output"].clone()
}

#[tokio::test]
async fn i11_an_upload_without_a_good_signature_changes_nothing() {
    let (keys, stranger) = (generate(None).unwrap(), generate(None).unwrap());
    let host = home(&keys, true).start().await;
    let admin = Admin::of(&host);
    let (first, second) = (component("v01"), component("v02"));
    for component in [&first, &second] {
        let (status, problem) = admin.put("version", component.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(problem["detail"].as_str().unwrap().starts_with("version.wasm is not signed"), "{problem:#}");
    }
    assert_eq!(state(&host).await, (Value::Null, BTreeMap::new()));
    let good = signature(&keys, "version", &first);
    let (status, told) = admin.put_form("version", &[("component", &first), ("signature", good.as_bytes())]).await;
    assert_eq!(status, StatusCode::CREATED, "{told:#}");
    let plugin = host.plugin("version").await.unwrap();
    assert_eq!(plugin["live"]["signature"]["key_id"], keys.id.to_string(), "{plugin:#}");

    let before = state(&host).await;
    let whole = signature(&keys, "version", &second);
    let short = |lines: usize| whole.lines().take(lines).collect::<Vec<_>>().join("\n");
    let (foreign, other) = (signature(&stranger, "version", &second), signature(&keys, "another", &second));
    for (what, given, told) in [
        ("missing: the one in the folder is of the other bytes", None, "does not fit version.wasm"),
        ("of another key", Some(foreign), "which the host does not trust"),
        ("of other bytes", Some(good.clone()), "does not fit version.wasm"),
        ("for another plugin", Some(other), "was made for the plugin \"another\""),
        ("without its last line", Some(short(3)), "is not a signature of minisign"),
        ("one line", Some(short(1)), "is not a signature of minisign"),
        ("cut short in the middle", Some(whole[..whole.len() - 40].to_owned()), "is not a signature of minisign"),
        ("nothing", Some(String::new()), "is not a signature of minisign"),
        ("not text", Some("\u{0}\u{1}".repeat(100)), "is not a signature of minisign"),
    ] {
        let parts: Vec<(&str, &[u8])> = std::iter::once(("component", second.as_slice()))
            .chain(given.as_ref().map(|given| ("signature", given.as_bytes())))
            .collect();
        let (status, problem) = admin.put_form("version", &parts).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("plugin-refused")), "{what}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(told) && detail.contains("version.wasm"), "{what}: {problem:#}");
        assert_eq!(state(&host).await, before, "{what}");
    }
    let (status, problem) = admin.put_form("version", &[("component", &second), ("signature", &[b'x'; 5_000])]).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("signature-too-large")));
    assert_eq!(state(&host).await, before);
    assert_eq!(output(&host).await, "v01");
    let (status, _) = admin.put_form("version", &[("signature", whole.as_bytes()), ("component", &second)]).await;
    assert_eq!((status, output(&host).await), (StatusCode::OK, json!("v02")));
    host.stop().await;
}

#[tokio::test]
async fn i11_a_rollback_obeys_the_rules_of_today() {
    let keys = generate(None).unwrap();
    let host = home(&keys, false).start().await;
    let admin = Admin::of(&host);
    assert_eq!(admin.put("version", component("v01")).await.0, StatusCode::CREATED);
    let second = component("v02");
    let signed = signature(&keys, "version", &second);
    let parts: [(&str, &[u8]); 2] = [("component", &second), ("signature", signed.as_bytes())];
    assert_eq!(admin.put_form("version", &parts).await.0, StatusCode::OK);

    let home = host.stop().await.configure(|config| config.plugins.require_signature = true);
    let host = home.start().await;
    let admin = Admin::of(&host);
    assert_eq!(output(&host).await, "v02");
    let before = state(&host).await;
    let (status, problem) = admin.roll_back("version").await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("plugin-refused")), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().starts_with("version.wasm is not signed"), "{problem:#}");
    assert_eq!(state(&host).await, before);
    let history = host.get("/v1/plugins/version/history").await;
    assert_eq!(history["generations"].as_array().unwrap().len(), 2, "{history:#}");

    // To a signed one: its signature comes back with it, and holds at the next start.
    let third = component("v03");
    let named = "signature = \"third.minisig\"\n";
    let signed = signature(&keys, "version", &third);
    let parts: [(&str, &[u8]); 3] =
        [("component", &third), ("signature", signed.as_bytes()), ("manifest", named.as_bytes())];
    let (status, told) = admin.put_form("version", &parts).await;
    assert_eq!((status, output(&host).await), (StatusCode::OK, json!("v03")), "{told:#}");
    assert_eq!(admin.roll_back("version").await.0, StatusCode::OK);
    assert_eq!(output(&host).await, "v02");
    let host = host.restart().await;
    assert_eq!(output(&host).await, "v02");
    let plugin = host.plugin("version").await.unwrap();
    assert!(plugin["error"].is_null() && plugin["live"]["signature"].is_object(), "{plugin:#}");
    host.stop().await;
}

/// A manifest may name the signature's file as it likes, and a rollback has to put back what it named.
#[tokio::test]
async fn i11_a_rollback_puts_a_signature_back_whatever_its_file_is_called() {
    let keys = generate(None).unwrap();
    let home = home(&keys, true);
    let path = |host: &TestHost, file: &str| host.plugins().component("version").with_file_name(file);
    let host = home.start().await;
    let admin = Admin::of(&host);
    for output in ["v01", "v02"] {
        let component = component(output);
        std::fs::write(path(&host, "release.sig"), signature(&keys, "version", &component)).unwrap();
        host.plugins().put("version", &component, Some("signature = \"release.sig\"\n"));
        host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(&component)).await;
    }
    let (status, told) = admin.roll_back("version").await;
    assert_eq!((status, output(&host).await), (StatusCode::OK, json!("v01")), "{told:#}");
    let host = host.restart().await;
    let plugin = host.plugin("version").await.unwrap();
    assert!(plugin["error"].is_null(), "{plugin:#}");
    assert_eq!(output(&host).await, "v01");
    host.stop().await;
}

/// A manifest cannot have a signature written over the file of another plugin.
#[tokio::test]
async fn a_signature_is_not_written_over_a_component_a_manifest_or_anothers_signature() {
    let keys = generate(None).unwrap();
    let host = home(&keys, false).start().await;
    let admin = Admin::of(&host);
    assert_eq!(admin.put("version", component("v01")).await.0, StatusCode::CREATED);
    let before = state(&host).await;
    let second = component("v02");
    let signed = signature(&keys, "version", &second);
    for file in ["other.wasm", "version.wasm", "other.toml", "version.toml", "other.wasm.minisig"] {
        let manifest = format!("signature = {file:?}\n");
        let parts: [(&str, &[u8]); 3] =
            [("component", &second), ("signature", signed.as_bytes()), ("manifest", manifest.as_bytes())];
        let (status, problem) = admin.put_form("version", &parts).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{file}");
        assert!(problem["detail"].as_str().unwrap().contains(file), "{problem:#}");
        assert_eq!(state(&host).await, before, "{file}");
    }
    host.stop().await;
}

/// What a plugin's removal leaves behind would be in the way of the next upload.
#[tokio::test]
async fn a_removal_takes_the_signature_along_that_the_manifest_names() {
    let keys = generate(None).unwrap();
    let host = home(&keys, true).start().await;
    let admin = Admin::of(&host);
    let first = component("v01");
    let signed = signature(&keys, "version", &first);
    for manifest in ["", "signature = \"first.minisig\"\n"] {
        let parts: [(&str, &[u8]); 3] =
            [("component", &first), ("signature", signed.as_bytes()), ("manifest", manifest.as_bytes())];
        assert_eq!(admin.put_form("version", &parts).await.0, StatusCode::CREATED);
        assert_eq!(admin.delete("version").await.0, StatusCode::NO_CONTENT);
        assert_eq!(state(&host).await, (Value::Null, BTreeMap::new()));
    }
    host.stop().await;
}
