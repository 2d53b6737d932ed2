//! How bytes are written where people read: as hexadecimal digits.

use std::fmt::Write as _;

/// Two lower-case digits a byte.
pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The inverse of [`encode_hex`]; upper case would be a second way to write the same.
pub(crate) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// `#[serde(with = "crate::task::text::bytes")]`: hexadecimal in text, bytes in a compact form.
pub(crate) mod bytes {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Bytes, or none.
    pub(crate) trait Blob: Serialize + DeserializeOwned {
        /// As text.
        fn to_text(&self) -> Option<String>;
        /// The inverse.
        fn of_text(text: Option<String>) -> Option<Self>;
    }

    impl Blob for Vec<u8> {
        fn to_text(&self) -> Option<String> {
            Some(super::encode_hex(self))
        }

        fn of_text(text: Option<String>) -> Option<Self> {
            super::decode_hex(&text?)
        }
    }

    impl Blob for Option<Vec<u8>> {
        fn to_text(&self) -> Option<String> {
            self.as_ref().and_then(Blob::to_text)
        }

        fn of_text(text: Option<String>) -> Option<Self> {
            text.map(|text| Vec::of_text(Some(text))).map_or(Some(None), |bytes| bytes.map(Some))
        }
    }

    pub(crate) fn serialize<T: Blob, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { value.to_text().serialize(serializer) } else { value.serialize(serializer) }
    }

    pub(crate) fn deserialize<'de, T: Blob, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        if !deserializer.is_human_readable() {
            return T::deserialize(deserializer);
        }
        let text = Option::<String>::deserialize(deserializer)?;
        T::of_text(text).ok_or_else(|| D::Error::custom("not bytes in hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{decode_hex, encode_hex};

    #[test]
    fn hexadecimal_text_reads_back_and_has_one_form() {
        assert_eq!(encode_hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(decode_hex("001fff"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(decode_hex(""), Some(Vec::new()));
        for wrong in ["0", "0g", "0F", "+1"] {
            assert_eq!(decode_hex(wrong), None, "{wrong}");
        }
    }
}
