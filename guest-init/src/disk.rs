//! The disk with the root file system.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use guest_init::spec::RootDisk;
use rustix::mount::MountAttrFlags;

use crate::devices::DeviceEvents;
use crate::failure::{Context, Failure};
use crate::mount::FileSystem;

/// Where the kernel lists block devices.
const CLASS: &str = "/sys/block";

/// Waits for the root disk and mounts it, attached to no place yet.
pub(crate) fn mount(
    root: &RootDisk,
    events: &DeviceEvents,
) -> Result<std::os::fd::OwnedFd, Failure> {
    let serial = String::from_utf8_lossy(&root.serial);
    let disk = events
        .until(|| Ok(choose(&virtio_disks(), root)))?
        .ok_or_else(|| Failure::setup(format!("No virtio disk has the serial number {serial}")))?;
    let device = format!("/dev/{}", disk.to_string_lossy());
    let kind = std::str::from_utf8(&root.file_system)
        .context(|| "File system of the root disk".to_owned())?;
    let file_system = FileSystem::new(kind).option("source", &device);
    if root.read_only {
        file_system
            .flag("ro")
            .attributes(MountAttrFlags::MOUNT_ATTR_RDONLY)
            .mount()
    } else {
        file_system.mount()
    }
}

/// The only disk there is, or the one with the serial number.
fn choose(disks: &[OsString], root: &RootDisk) -> Option<OsString> {
    match disks {
        [only] => Some(only.clone()),
        several => several
            .iter()
            .find(|disk| has_serial(disk, &root.serial))
            .cloned(),
    }
}

fn virtio_disks() -> Vec<OsString> {
    let Ok(entries) = fs::read_dir(CLASS) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.as_bytes().starts_with(b"vd"))
        .collect()
}

fn has_serial(disk: &OsString, wanted: &[u8]) -> bool {
    let path = std::path::Path::new(CLASS).join(disk).join("serial");
    fs::read(path).is_ok_and(|serial| serial.trim_ascii_end() == wanted)
}
