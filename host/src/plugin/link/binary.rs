//! Says what a file is before the compiler sees it: a precise message for the usual mistakes.

use super::LoadError;

const MAGIC: &[u8; 4] = b"\0asm";
/// Version and layer of a component, in binary.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
/// Version of a core module, in binary.
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
const HEADER_BYTES: usize = 8;

/// Refuses what is not a whole component.
pub(in crate::plugin) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        let is_text = std::str::from_utf8(bytes).is_ok_and(|text| text.trim_start().starts_with(['(', ';']));
        return if is_text { Ok(()) } else { Err(LoadError::NotWasm) };
    }
    let Some(version) = bytes.get(MAGIC.len()..HEADER_BYTES) else {
        return Err(LoadError::Truncated { have: bytes.len(), need: HEADER_BYTES });
    };
    if version == CORE_MODULE {
        return Err(LoadError::CoreModule);
    }
    if version != COMPONENT {
        return Err(LoadError::Invalid(format!("unknown binary version {version:02x?}")));
    }
    whole(bytes)
}

/// Walks from section to section: the last one must end where the file ends.
fn whole(bytes: &[u8]) -> Result<(), LoadError> {
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let short = |need: usize| LoadError::Truncated { have: bytes.len(), need };
        let (size, start) = length(bytes, at + 1).ok_or_else(|| short(bytes.len() + 1))?;
        let end = start.saturating_add(size);
        if end > bytes.len() {
            return Err(short(end));
        }
        at = end;
    }
    Ok(())
}

/// A LEB128 number of at most 32 bits, and where it ends.
fn length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.get(at..)?.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, at + place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_file_has_its_own_name() {
        assert_eq!(check(b""), Err(LoadError::Empty));
        assert!(matches!(check(b"\0as"), Err(LoadError::Truncated { .. })));
        assert!(matches!(check(b"\x7fELF...."), Err(LoadError::NotWasm)));
        assert!(matches!(check(b"\0asm\x01\0\0\0"), Err(LoadError::CoreModule)));
        assert!(matches!(check(b"\0asm\x0d\0\x01\0\x01\x05ab"), Err(LoadError::Truncated { have: 12, need: 15 })));
        assert!(check(b"\0asm\x0d\0\x01\0\x01\x02ab").is_ok());
        assert!(check(b"\n(component)").is_ok());
    }
}
