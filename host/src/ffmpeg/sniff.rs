//! The format of a file, from its first bytes and an allow-list.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Error;

/// Bytes that are looked at, at the start and behind an ID3 tag.
const HEAD_BYTES: usize = 1024;
const ACCEPTED: &str = "mp4, mov, matroska, webm, avi, mpeg-ts, mpeg-ps, flv, ogg, wav, mp3, flac, aac";

/// A format that is accepted, and the one demuxer that may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format(&'static str);

impl Format {
    /// The name of ffmpeg's demuxer.
    pub(super) fn demuxer(self) -> &'static str {
        self.0
    }

    /// Packets may lack timestamps, which a copy needs.
    pub(super) fn lacks_timestamps(self) -> bool {
        matches!(self.0, "avi" | "mpeg")
    }
}

/// Decides the format of an open file. Blocks for two small reads.
pub(super) fn sniff(file: &File) -> Result<Format, Error> {
    let refuse = || Error::BadInput(format!("not an accepted audio or video format: it must be one of {ACCEPTED}"));
    let unreadable = |error: io::Error| Error::Unavailable(format!("the file cannot be read: {error}"));
    let head = read_head(file, 0).map_err(unreadable)?;
    if head.is_empty() {
        return Err(Error::BadInput("the file is empty".to_owned()));
    }
    // A tag in front says nothing about what follows.
    let format = match id3_len(&head) {
        Some(tag) => {
            let head = read_head(file, tag).map_err(unreadable)?;
            by_magic(&head).filter(|format| matches!(format.0, "aac" | "flac" | "mp3"))
        }
        None => by_magic(&head),
    };
    format.ok_or_else(refuse)
}

fn read_head(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// Length of a tag of the kind `ID3` (version 2) with its header.
fn id3_len(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', _, _, flags, size @ ..] = head.first_chunk::<10>()? else { return None };
    let size = size.iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + size + footer)
}

fn by_magic(head: &[u8]) -> Option<Format> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let name = match head {
        _ if is_quicktime(head) => "mov",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "matroska",
        [b'R', b'I', b'F', b'F', ..] if at(8, b"AVI ") => "avi",
        [b'R', b'I', b'F', b'F', ..] | [b'R', b'F', b'6', b'4', ..] if at(8, b"WAVE") => "wav",
        [b'F', b'L', b'V', 1, ..] => "flv",
        [b'O', b'g', b'g', b'S', 0, ..] => "ogg",
        [b'f', b'L', b'a', b'C', ..] => "flac",
        [0, 0, 1, 0xba, ..] => "mpeg",
        // Packets of 188 bytes, or of 192 with a time code in front.
        [0x47, ..] if at(188, b"\x47") && at(376, b"\x47") => "mpegts",
        [_, _, _, _, 0x47, ..] if at(196, b"\x47") && at(388, b"\x47") => "mpegts",
        // ADTS: twelve bits of sync, layer 0. MPEG audio, layer 3: eleven bits of sync.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => "aac",
        [0xff, second, third, ..] if second & 0xe6 == 0xe2 && third & 0xf0 != 0xf0 && third & 0x0c != 0x0c => "mp3",
        _ => return None,
    };
    Some(Format(name))
}

/// A first box of a known type and a plausible size.
fn is_quicktime(head: &[u8]) -> bool {
    // Pictures in the same boxes.
    const PICTURES: [&[u8; 4]; 6] = [b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"];
    const TYPES: [&[u8; 4]; 8] = [b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"];
    let Some([a, b, c, d, kind @ ..]) = head.first_chunk::<8>() else { return false };
    let size = u32::from_be_bytes([*a, *b, *c, *d]);
    let picture = kind == b"ftyp" && PICTURES.iter().any(|brand| head[8..].starts_with(&brand[..]));
    !picture && TYPES.contains(&kind) && (size <= 1 || size >= 8)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sniffed(bytes: &[u8]) -> Result<&'static str, Error> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        sniff(&file).map(Format::demuxer)
    }

    fn packets(offset: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size * 4];
        for start in (offset..bytes.len()).step_by(size) {
            bytes[start] = 0x47;
        }
        bytes
    }

    #[test]
    fn accepted_formats_name_their_demuxer() {
        for (bytes, demuxer) in [
            (&b"\0\0\0\x20ftypisom"[..], "mov"),
            (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
            (b"\0\0\0\x01mdat", "mov"),
            (b"\x1a\x45\xdf\xa3\x01", "matroska"),
            (b"RIFF\0\0\0\0AVI LIST", "avi"),
            (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
            (b"FLV\x01\x05", "flv"),
            (b"OggS\0\x02", "ogg"),
            (b"fLaC\0", "flac"),
            (b"\0\0\x01\xba\x44", "mpeg"),
            (b"\xff\xf1\x50\x80", "aac"),
            (b"\xff\xfb\x90\x64", "mp3"),
            (b"ID3\x04\0\0\0\0\0\x02xx\xff\xfb\x90\x64", "mp3"),
            (b"ID3\x04\0\0\0\0\0\0fLaC", "flac"),
            (&packets(0, 188), "mpegts"),
            (&packets(4, 192), "mpegts"),
        ] {
            assert_eq!(sniffed(bytes).unwrap(), demuxer, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn anything_else_is_bad_input() {
        for bytes in [
            &b"just text"[..],
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            b"ID3\x04\0\0\0\0\0\0#EXTM3U\n",
            b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"<?xml version=\"1.0\"?><MPD></MPD>",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"GIF89a",
            b"\0\0\0\x1cftypheic",
            b"RIFF\0\0\0\0WEBP",
            b"\xff\xfe#\0E\0X\0",
            b"\0\0\0\x04ftyp",
            b"G\0\0\0",
            b"\xff",
        ] {
            let error = sniffed(bytes).unwrap_err();
            assert!(error.to_string().starts_with("not an accepted audio or video format: "), "{error}");
        }
        assert_eq!(sniffed(b"").unwrap_err(), Error::BadInput("the file is empty".to_owned()));
    }
}
