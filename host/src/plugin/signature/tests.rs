use sha2::{Digest as _, Sha256};

use super::*;

const COMPONENT: &[u8] = b"what somebody built";

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn subject<'a>(name: &'a str, component: &'a [u8]) -> Subject<'a> {
    Subject { name, digest: digest(component), component }
}

fn trust(keys: &[&NewKeys]) -> Trust {
    Trust { keys: keys.iter().map(|keys| TrustedKey::parse(&keys.line).unwrap()).collect(), required: true }
}

/// A signature by plain means: without a claim unless the comment makes one.
fn signed(keys: &NewKeys, component: &[u8], comment: &str) -> String {
    sign(&keys.secret, None, component, comment).unwrap()
}

#[test]
fn who_signed_is_told_with_what_was_signed() {
    let keys = generate(None).unwrap();
    let comment = comment("cut", "1.2.0 beta", digest(COMPONENT));
    let signature = signed(&keys, COMPONENT, &comment);
    let trust = trust(&[&generate(None).unwrap(), &keys]);
    let found =
        trust.verify(subject("cut", COMPONENT), "cut.wasm.minisig", Some(signature.as_bytes())).unwrap().unwrap();
    assert_eq!((found.key, found.comment.as_str()), (keys.id, comment.as_str()));
    assert_eq!(found.key.to_string(), keys.public.split([' ', '\n']).nth(5).unwrap());
    assert_eq!(found.check_version("f", "1.2.0 beta"), Ok(()));
    let wrong = found.check_version("f", "1.2.1").unwrap_err().to_string();
    assert!(wrong.contains("made for the version \"1.2.0_beta\", and this is \"1.2.1\""), "{wrong}");
    // The tools of other systems end lines in their own way.
    let windows = signature.replace('\n', "\r\n");
    assert!(trust.verify(subject("cut", COMPONENT), "f", Some(windows.as_bytes())).unwrap().is_some());
}

#[test]
fn nothing_is_believed_that_is_not_signed_by_a_trusted_key_for_this_very_plugin() {
    let (keys, other) = (generate(None).unwrap(), generate(None).unwrap());
    let (trust, mine) = (trust(&[&keys]), comment("cut", "1", digest(COMPONENT)));
    let good = signed(&keys, COMPONENT, &mine);
    let changed_comment = good.replace("version:1", "version:2");
    let changed_bytes = good.replacen("RU", "RV", 1);
    // The number of a key can be copied; what it signs cannot.
    let mut forged: Vec<_> = signed(&other, COMPONENT, &mine).lines().map(str::to_owned).collect();
    let (theirs, ours) = (STANDARD.decode(&forged[1]).unwrap(), STANDARD.decode(good.lines().nth(1).unwrap()).unwrap());
    forged[1] = STANDARD.encode([&ours[..10], &theirs[10..]].concat());
    let forged = forged.join("\n");
    let lying = signed(&keys, COMPONENT, &comment("cut", "1", digest(b"other")));
    for (name, component, signature, told) in [
        ("cut", b"changed".as_slice(), good.as_str(), "does not fit cut.wasm"),
        ("cut", COMPONENT, &changed_comment, "does not fit cut.wasm"),
        ("cut", COMPONENT, &forged, "does not fit cut.wasm"),
        ("other", COMPONENT, &good, "made for the plugin \"cut\", and this is \"other\""),
        ("cut", COMPONENT, &lying, "made for the sha256"),
        ("cut", COMPONENT, &signed(&other, COMPONENT, &mine), "which the host does not trust; it trusts "),
        ("cut", COMPONENT, &changed_bytes, "its algorithm is not known here"),
        ("cut", COMPONENT, "", "has to have four lines"),
        ("cut", COMPONENT, "a\nb\nc\nd\n", "has to have four lines"),
        ("cut", COMPONENT, &good[..good.len() / 2], "has to have four lines"),
    ] {
        let refused =
            trust.verify(subject(name, component), "cut.wasm.minisig", Some(signature.as_bytes())).unwrap_err();
        assert!(refused.to_string().contains(told), "{told}: {refused}");
        assert!(refused.to_string().starts_with("cut.wasm.minisig "), "{refused}");
    }
    assert!(trust.verify(subject("cut", COMPONENT), "f", Some(b"\xff\n")).is_err());
    let nobody = Trust::default();
    let refused = nobody.verify(subject("cut", COMPONENT), "f", Some(good.as_bytes())).unwrap_err().to_string();
    assert!(refused.contains("it trusts none") && refused.contains("plugins.trusted_keys"), "{refused}");
}

#[test]
fn whether_a_signature_is_needed_is_the_operators_word() {
    let mut trust = Trust::default();
    assert_eq!(trust.verify(subject("cut", COMPONENT), "cut.wasm.minisig", None), Ok(None));
    trust.required = true;
    let refused = trust.verify(subject("cut", COMPONENT), "cut.wasm.minisig", None).unwrap_err().to_string();
    assert!(
        refused.contains("`taskhost plugin sign cut.wasm --key KEY` and put cut.wasm.minisig beside it"),
        "{refused}"
    );
}

#[test]
fn a_comment_without_claims_is_accepted_as_minisign_writes_it() {
    let keys = generate(None).unwrap();
    let signature = signed(&keys, COMPONENT, "timestamp:1700000000\tfile:elsewhere.wasm\thashed");
    let found = trust(&[&keys]).verify(subject("cut", COMPONENT), "f", Some(signature.as_bytes())).unwrap().unwrap();
    assert_eq!(found.check_version("f", "any"), Ok(()));
}

#[test]
fn a_secret_key_with_a_password_needs_it() {
    let keys = generate(Some("correct horse")).unwrap();
    assert_eq!(is_encrypted(&keys.secret).ok(), Some(true));
    assert!(matches!(sign(&keys.secret, None, COMPONENT, ""), Err(SignError::NoPassword)));
    assert!(matches!(sign(&keys.secret, Some("wrong"), COMPONENT, ""), Err(SignError::WrongPassword)));
    let signature = sign(&keys.secret, Some("correct horse"), COMPONENT, "plugin:cut").unwrap();
    assert!(trust(&[&keys]).verify(subject("cut", COMPONENT), "f", Some(signature.as_bytes())).unwrap().is_some());
    for text in ["", "a\nb\n", keys.public.as_str()] {
        assert!(matches!(sign(text, None, COMPONENT, ""), Err(SignError::NotAKey(_))), "{text}");
    }
}

#[test]
fn what_is_not_a_public_key_is_told() {
    let keys = generate(None).unwrap();
    assert_eq!(TrustedKey::parse(&keys.public).unwrap(), TrustedKey::parse(&keys.line).unwrap());
    for text in ["", "RW", &keys.line[..40], keys.secret.as_str()] {
        assert!(TrustedKey::parse(text).unwrap_err().contains("begins with `RW`"), "{text}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_file_is_believed_by_chance(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), at in 0..300_usize) {
        let secret = "untrusted comment: minisign secret key\nRWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
        drop(sign(secret, None, COMPONENT, ""));
        let trust = Trust::default();
        assert!(trust.verify(subject("cut", COMPONENT), "f", Some(&bytes)).is_err());
        let mut text = "untrusted comment: a\nRUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\ntrusted comment: timestamp:1633700835\nwLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n".to_owned().into_bytes();
        let at = at.min(text.len());
        text.splice(at..at, bytes);
        assert!(trust.verify(subject("cut", COMPONENT), "f", Some(&text)).is_err());
    }
}
