//! Kernel modules of the initramfs.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use guest_init::spec::MODULE_LIST;
use rustix::io::Errno;
use rustix::system::finit_module;

use crate::failure::{Context, Failure};

/// Loads what [`MODULE_LIST`] names, in its order.
pub(crate) fn load_listed() -> Result<(), Failure> {
    let list = match fs::read_to_string(MODULE_LIST) {
        Ok(list) => list,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(|| format!("Read {MODULE_LIST}")),
    };
    load(list.lines().filter(|line| !line.is_empty()))
}

/// Loads modules in their order, and frees the memory of the files.
pub(crate) fn load<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
    for path in paths {
        let file = File::open(path).context(|| format!("Open module {path}"))?;
        match finit_module(file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            // A module whose symbols the kernel has itself cannot be linked.
            Err(Errno::NOEXEC) if is_present(path) => {}
            Err(error) => return Err(error).context(|| format!("Load module {path}")),
        }
        // A file that stays costs memory, nothing else.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Whether the kernel has this module already, loaded or built in.
fn is_present(path: &str) -> bool {
    Path::new("/sys/module").join(module_name(path)).is_dir()
}

/// The kernel's name of the module in a file.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::module_name;

    #[test]
    fn names_modules_as_the_kernel_does() {
        assert_eq!(module_name("/lib/modules/virtio-rng.ko"), "virtio_rng");
        assert_eq!(module_name("ext4.ko.gz"), "ext4");
    }
}
