//! The run specification: what to run in the guest, and as whom.
//!
//! The host writes it as [`PATH`] into the last archive of the initramfs. Names and values are
//! bytes, as the kernel sees them: an image is free to use any that are not NUL.

use serde::{Deserialize, Serialize};

/// Where the encoded [`RunSpec`] stands in the initramfs.
pub const PATH: &str = "/run.spec";

/// Lists the modules to load, one path a line, in loading order; absent if there are none.
pub const MODULE_LIST: &str = "/modules.list";

/// A string of bytes without NUL, as `execve(2)` takes it.
pub type Bytes = Vec<u8>;

/// Everything that guest-init needs to know about one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The root file system's disk.
    pub root: FileSystemDisk,
    /// Modules to load beside those that every guest loads: paths in the initramfs, in loading order.
    pub modules: Vec<String>,
    /// What runs programs of other architectures; none in a native run.
    pub emulation: Option<Emulation>,
    /// Program and arguments, at least one: the image's entrypoint and command already put together.
    /// A program without a slash is looked up in the `PATH` of [`env`](Self::env).
    pub argv: Vec<Bytes>,
    /// The environment, each `NAME=value`. guest-init adds `PATH`, `HOME` and (with a terminal)
    /// `TERM` where they are missing.
    pub env: Vec<Bytes>,
    /// Absolute working directory, created if missing; `/` if empty.
    pub working_directory: Bytes,
    /// `user`, `user:group`, by name or number, looked up in the image; root if empty.
    pub user: Bytes,
    /// The guest's host name, also in /etc/hostname and /etc/hosts.
    pub hostname: Bytes,
    /// The command gets a pseudo-terminal of this size as its controlling terminal.
    pub terminal: Option<TerminalSize>,
    /// The command gets a standard input from the host; without, it reads /dev/null
    /// (with a terminal, nothing that the host sends arrives).
    pub stdin: bool,
    /// The command sees a 32-bit machine, as by `setarch linux32` (`PER_LINUX32` of `personality(2)`).
    pub linux32: bool,
    /// Resource limits of the command.
    pub rlimits: Vec<Rlimit>,
    /// The host's clock just before the machine starts, in nanoseconds since 1970-01-01 UTC: the guest's,
    /// where it is more than a second behind this and what has passed since its kernel's start, is set
    /// forward (a machine without a real-time clock starts in 1970).
    pub wall_clock_ns: u64,
}

/// How guest-init finds and mounts a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemDisk {
    /// The serial number of the virtio block device (virtio 1.2, section 5.2.6, `GET_ID`), at most
    /// 20 bytes. Where the machine has no disk but the root's, that is taken whatever its serial number.
    pub serial: Bytes,
    /// File system type as `mount(2)` takes it, such as `ext4`.
    pub file_system: Bytes,
    /// Mounted read-only.
    pub read_only: bool,
}

/// How the guest's kernel runs programs of other architectures (the kernel's binfmt-misc.rst).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulation {
    /// The disk with the interpreters. The image's programs do not see it.
    pub disk: FileSystemDisk,
    /// Which programs are run by which interpreter.
    pub formats: Vec<BinaryFormat>,
}

/// A kind of program, and what interprets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryFormat {
    /// A name that no other format has, without `:`.
    pub name: String,
    /// What its programs begin with, where [`mask`](Self::mask) has bits set; as long as that.
    pub magic: Bytes,
    /// Which bits of [`magic`](Self::magic) count.
    pub mask: Bytes,
    /// The interpreter's name on the disk.
    pub interpreter: String,
}

/// Size of a terminal in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Height in lines.
    pub rows: u16,
    /// Width in columns.
    pub columns: u16,
}

/// One resource limit, as `setrlimit(2)` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number of Linux's generic table (the same on x86 and ARM).
    pub resource: u32,
    /// Soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is none.
    pub hard: u64,
}

impl RunSpec {
    /// Encodes the specification for [`PATH`].
    ///
    /// # Errors
    /// Only if memory runs out while encoding.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }

    /// Decodes what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If `bytes` is not an encoded specification.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_encoding() {
        let spec = RunSpec {
            root: FileSystemDisk {
                serial: b"root".to_vec(),
                file_system: b"ext4".to_vec(),
                read_only: false,
            },
            argv: vec![b"python2".to_vec(), vec![0xff, 0xfe, b'\n']],
            env: vec![b"A=\x80".to_vec()],
            working_directory: b"/".to_vec(),
            terminal: Some(TerminalSize {
                rows: 24,
                columns: 80,
            }),
            rlimits: vec![Rlimit {
                resource: 7,
                soft: 1024,
                hard: u64::MAX,
            }],
            ..RunSpec::default()
        };
        assert_eq!(RunSpec::decode(&spec.encode().unwrap()).unwrap(), spec);
    }

    #[test]
    fn refuses_what_is_cut_off() {
        let encoded = RunSpec::default().encode().unwrap();
        assert!(RunSpec::decode(&encoded[..encoded.len() - 1]).is_err());
    }
}
