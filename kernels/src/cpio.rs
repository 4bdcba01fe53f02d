//! Writes cpio archives in the "newc" format, of which an initramfs is made.
//!
//! The format is the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`. Each
//! finished archive is padded to 4 bytes, so that archives can stand one after the other.

/// File type bits of a mode, as in `inode(7)`.
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making. Everything in it belongs to root and has no time, so the same calls
/// give the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// What a header says beside its name.
#[derive(Default)]
struct Entry<'a> {
    mode: u32,
    links: u32,
    device: (u32, u32),
    contents: &'a [u8],
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with these permission bits; `path` is absolute, and its folder comes before it.
    ///
    /// # Panics
    /// If `contents` is 4 GiB or longer, which the format cannot say.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, contents: &[u8]) -> Self {
        self.entry(
            path,
            &Entry {
                mode: REGULAR | mode,
                links: 1,
                contents,
                ..Entry::default()
            },
        )
    }

    /// Adds an empty folder with these permission bits.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(
            path,
            &Entry {
                mode: DIRECTORY | mode,
                links: 2,
                ..Entry::default()
            },
        )
    }

    /// Adds a character device with these permission bits.
    #[must_use]
    pub fn character_device(self, path: &str, mode: u32, major: u32, minor: u32) -> Self {
        self.entry(
            path,
            &Entry {
                mode: CHARACTER_DEVICE | mode,
                links: 1,
                device: (major, minor),
                ..Entry::default()
            },
        )
    }

    /// Ends the archive and gives its bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.entry(
            TRAILER,
            &Entry {
                links: 1,
                ..Entry::default()
            },
        )
        .bytes
    }

    fn entry(mut self, path: &str, entry: &Entry<'_>) -> Self {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(entry.contents.len());
        assert!(size.is_ok(), "{path} is too long for a cpio archive");
        self.entries += 1;
        let (major, minor) = entry.device;
        // Magic, inode, mode, owner, group, links, time, size, the file system's device, the
        // node's device, length of the name with its NUL, checksum (unused in this format).
        self.bytes.extend_from_slice(b"070701");
        for field in [
            self.entries,
            entry.mode,
            0,
            0,
            entry.links,
            0,
            size.unwrap_or(0),
            0,
            0,
            major,
            minor,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ] {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(entry.contents);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_stay_aligned_whatever_the_lengths() {
        for length in 0..9 {
            let name = format!("/{}", "n".repeat(length + 1));
            let archive = Archive::new()
                .directory("/d", 0o755)
                .file(&name, 0o644, &vec![7; length])
                .finish();
            assert_eq!(archive.len() % 4, 0);
            let trailer = archive
                .windows(TRAILER.len())
                .position(|w| w == TRAILER.as_bytes());
            assert_eq!((trailer.unwrap() - 110) % 4, 0);
        }
    }

    #[test]
    fn a_header_has_the_fields_in_the_formats_order() {
        let archive = Archive::new()
            .character_device("/dev/console", 0o600, 5, 1)
            .finish();
        let header = "070701 00000001 00002180 00000000 00000000 00000001 00000000 00000000 \
                      00000000 00000000 00000005 00000001 0000000C 00000000"
            .replace(' ', "");
        // "dev/console" and its NUL are 12 bytes, with the header's 110 that is 2 short of a word.
        assert_eq!(&archive[..110], header.as_bytes());
        assert_eq!(&archive[110..124], b"dev/console\0\0\0");
    }
}
