//! What must be mounted in the initramfs before anything can be found.

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;

use crate::failure::{Context, Failure};
use crate::mount::{FileSystem, attach_at};

/// Mounts /dev and /sys in the initramfs, for the devices and what the kernel says of them.
pub(crate) fn mount() -> Result<(), Failure> {
    // The modes of what guest-init creates are meant as they are.
    rustix::process::umask(Mode::empty());
    for (file_system, path) in [("devtmpfs", "/dev"), ("sysfs", "/sys")] {
        match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).context(|| format!("Create {path}")),
        }
        attach_at(FileSystem::new(file_system).mount()?, CWD, path)?;
    }
    Ok(())
}
