//! Letting the kernel run programs of other architectures (the kernel's binfmt-misc.rst).

use std::fmt::Write as _;
use std::fs;

use guest_init::spec::{BinaryFormat, Emulation};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;

use crate::disk;
use crate::failure::{Context, Failure};
use crate::mount::{FileSystem, attach_at};

/// Where the interpreters are, in the initramfs.
const INTERPRETERS: &str = "/emulators";
/// Where the kernel takes formats.
const FORMATS: &str = "/binfmt_misc";

/// `F`: the kernel opens the interpreter now, so that it is found whatever the root is later. `P`: the
/// interpreter learns the program's `argv[0]`. `C`: set-user-ID programs have their effect; what the
/// interpreter runs it gets as an open file (`O` is part of it), so programs need not be readable.
const FLAGS: &str = "PCF";

/// Mounts the disk of the interpreters and registers the formats.
pub(crate) fn register(emulation: &Emulation) -> Result<(), Failure> {
    attach(disk::mount(&emulation.disk)?, INTERPRETERS)?;
    // It stays mounted, out of the command's sight: newer kernels forget the formats with it.
    attach(FileSystem::new("binfmt_misc").mount()?, FORMATS)?;
    for format in &emulation.formats {
        fs::write(format!("{FORMATS}/register"), registration(format))
            .context(|| format!("Register the emulator {}", format.interpreter))?;
    }
    Ok(())
}

fn attach(mount: std::os::fd::OwnedFd, path: &str) -> Result<(), Failure> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).context(|| format!("Create {path}")),
    }
    attach_at(mount, CWD, path).map(drop)
}

/// `:name:type:offset:magic:mask:interpreter:flags`
fn registration(format: &BinaryFormat) -> String {
    let BinaryFormat {
        name, interpreter, ..
    } = format;
    let (magic, mask) = (escaped(&format.magic), escaped(&format.mask));
    format!(":{name}:M::{magic}:{mask}:{INTERPRETERS}/{interpreter}:{FLAGS}")
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_in_the_kernels_words() {
        let format = BinaryFormat {
            name: "s390x".to_owned(),
            magic: b"\x7fELF\0".to_vec(),
            mask: vec![0xff, 0xff, 0xff, 0xff, 0xfe],
            interpreter: "s390x-binfmt-P".to_owned(),
        };
        assert_eq!(
            registration(&format),
            r":s390x:M::\x7f\x45\x4c\x46\x00:\xff\xff\xff\xff\xfe:/emulators/s390x-binfmt-P:PCF"
        );
    }
}
