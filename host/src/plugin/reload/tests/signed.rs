//! Whose components go live.

use std::fs;

use super::{digest, executor};
use crate::plugin::Rules;
use crate::plugin::signature::{NewKeys, Trust, TrustedKey, comment, generate, sign};
use crate::plugin::testbed::{Testbed, success};

fn rules(keys: &NewKeys) -> Rules {
    Rules { trust: Trust { keys: vec![TrustedKey::parse(&keys.line).unwrap()], required: true }, ..Rules::default() }
}

fn signature(keys: &NewKeys, name: &str, version: &str, component: &[u8]) -> String {
    sign(&keys.secret, None, component, &comment(name, version, digest(component))).unwrap()
}

/// Waits until the file is live as it is.
async fn until_sound(bed: &mut Testbed, version: &str) {
    let sound = |live: &crate::plugin::GenerationInfo| live.version == version && live.signed.is_some();
    bed.until("a", |info| info.is_some_and(|info| info.error.is_none() && info.live.as_ref().is_some_and(sound))).await;
}

#[tokio::test]
async fn i11_what_is_not_signed_well_never_replaces_what_is() {
    let (keys, stranger) = (generate(None).unwrap(), generate(None).unwrap());
    let (first, second) = (executor("1"), executor("2"));
    let good = signature(&keys, "a", "1", &first);
    let files = [("a.wasm", first.as_slice()), ("a.wasm.minisig", good.as_bytes())];
    let mut bed = Testbed::start_under(rules(&keys), &files).await;
    until_sound(&mut bed, "1").await;
    assert_eq!(bed.info("a").unwrap().live.unwrap().signed.unwrap().key, keys.id);

    bed.rename_into("a.wasm", &second);
    bed.until_refused("a", "a.wasm.minisig does not fit a.wasm").await;
    let (other_plugin, other_version) = (signature(&keys, "b", "2", &second), signature(&keys, "a", "3", &second));
    for (signature, told) in [
        (signature(&stranger, "a", "2", &second), "which the host does not trust"),
        (other_plugin, "made for the plugin \"b\""),
        (other_version, "made for the version \"3\""),
        ("not a signature".to_owned(), "is not a signature of minisign"),
        ("x".repeat(5_000), "the limit is 4096"),
    ] {
        // The signature alone changes: that is noticed.
        bed.rename_into("a.wasm.minisig", signature.as_bytes());
        bed.until_refused("a", told).await;
        assert_eq!(bed.run("a").await, success("\"1\""));
    }
    fs::remove_file(bed.path("a.wasm.minisig")).unwrap();
    bed.until_refused("a", "a.wasm is not signed").await;
    assert_eq!(bed.run("a").await, success("\"1\""));
    bed.rename_into("a.wasm.minisig", signature(&keys, "a", "2", &second).as_bytes());
    until_sound(&mut bed, "2").await;
    assert_eq!(bed.run("a").await, success("\"2\""));
}

#[tokio::test]
async fn a_manifest_may_name_the_signature() {
    let keys = generate(None).unwrap();
    let component = executor("1");
    let good = signature(&keys, "a", "1", &component);
    let mut bed = Testbed::start_under(rules(&keys), &[("a.wasm", &component)]).await;
    bed.rename_into("a.toml", b"signature = \"release.sig\"\n");
    bed.until_refused("a", "the signature is in release.sig, which is not there").await;
    bed.rename_into("release.sig", good.as_bytes());
    until_sound(&mut bed, "1").await;
    bed.rename_into("release.sig", b"damaged");
    bed.until_refused("a", "release.sig is not a signature").await;
    bed.rename_into("a.toml", b"signature = \"../release.sig\"\n");
    bed.until_refused("a", "a.toml:1:13: `signature` must be the name of a file").await;
    assert_eq!(bed.run("a").await, success("\"1\""));
}

#[tokio::test]
async fn a_signature_that_nobody_asked_for_has_to_be_good_too() {
    let keys = generate(None).unwrap();
    let component = executor("1");
    let good = signature(&keys, "a", "1", &component);
    let files = [("a.wasm", component.as_slice()), ("a.wasm.minisig", good.as_bytes())];
    let mut bed = Testbed::start(&files).await;
    bed.until_refused("a", "which the host does not trust; it trusts none").await;
    fs::remove_file(bed.path("a.wasm.minisig")).unwrap();
    bed.until_live("a", "1").await;
    assert_eq!(bed.info("a").unwrap().live.unwrap().signed, None);
}
