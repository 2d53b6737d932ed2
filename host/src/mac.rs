//! HMAC-SHA-256 (RFC 2104) over parts of a message.

use sha2::{Digest as _, Sha256};

const BLOCK_BYTES: usize = 64;

/// A key; 32 bytes of randomness.
pub type Key = [u8; 32];
/// What authenticates a message.
pub type Tag = [u8; 32];

/// The tag of the parts, as if they were one message: the caller makes sure that only one way to cut it is valid.
pub fn tag(key: &Key, parts: &[&[u8]]) -> Tag {
    let mut inner = Sha256::new_with_prefix(pad(key, 0x36));
    for part in parts {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(pad(key, 0x5c)).chain_update(inner.finalize());
    outer.finalize().into()
}

/// Whether two tags are equal, in a time that does not depend on where they differ.
pub fn equal(one: &Tag, other: &Tag) -> bool {
    one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

fn pad(key: &Key, with: u8) -> [u8; BLOCK_BYTES] {
    let mut block = [with; BLOCK_BYTES];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test cases 1 and 2 of RFC 4231; shorter keys are filled with zeros, as the standard says.
    #[test]
    fn the_tags_are_those_of_the_standard() {
        let hex = |tag| crate::task::Digest(tag).to_string();
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex(tag(&key, &[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(hex(tag(&key, &parts)), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn tags_are_compared_as_a_whole() {
        let one = tag(&[1; 32], &[b"x"]);
        let mut other = one;
        assert!(equal(&one, &other));
        other[31] ^= 1;
        assert!(!equal(&one, &other));
    }
}
