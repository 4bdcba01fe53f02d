//! The disks with the root file system and with emulators.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use guest_init::spec::FileSystemDisk;
use rustix::mount::MountAttrFlags;

use crate::devices;
use crate::failure::{Context, Failure};
use crate::mount::FileSystem;

/// Where the kernel lists block devices.
const CLASS: &str = "/sys/block";

/// Waits for the disk with the wanted serial number and mounts it, attached to no place yet.
pub(crate) fn mount(wanted: &FileSystemDisk) -> Result<OwnedFd, Failure> {
    mount_chosen(wanted, |disks| {
        let mut disks = disks.iter();
        disks.find(|disk| has_serial(disk, &wanted.serial)).cloned()
    })
}

/// The same in a machine of one disk, which is taken whatever its serial number.
pub(crate) fn mount_only(wanted: &FileSystemDisk) -> Result<OwnedFd, Failure> {
    mount_chosen(wanted, |disks| {
        choose(disks, |disk| has_serial(disk, &wanted.serial))
    })
}

fn mount_chosen(
    wanted: &FileSystemDisk,
    choose: impl Fn(&[OsString]) -> Option<OsString>,
) -> Result<OwnedFd, Failure> {
    let disk = devices::wait_for(|| choose(&virtio_disks()))?.ok_or_else(|| {
        let serial = String::from_utf8_lossy(&wanted.serial);
        Failure::setup(format!("No virtio disk has the serial number {serial}"))
    })?;
    let device = format!("/dev/{}", disk.to_string_lossy());
    let kind = std::str::from_utf8(&wanted.file_system)
        .context(|| format!("File system of the disk {}", wanted.serial.escape_ascii()))?;
    let file_system = FileSystem::new(kind).option("source", &device);
    if wanted.read_only {
        file_system
            .flag("ro")
            .attributes(MountAttrFlags::MOUNT_ATTR_RDONLY)
            .mount()
    } else {
        file_system.mount()
    }
}

/// The only disk there is, or the one that is wanted.
fn choose(disks: &[OsString], is_wanted: impl Fn(&OsStr) -> bool) -> Option<OsString> {
    match disks {
        [only] => Some(only.clone()),
        several => several.iter().find(|disk| is_wanted(disk)).cloned(),
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

fn has_serial(disk: &OsStr, wanted: &[u8]) -> bool {
    let path = Path::new(CLASS).join(disk).join("serial");
    fs::read(path).is_ok_and(|serial| serial.trim_ascii_end() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disk_is_taken_whatever_it_says_and_of_several_the_wanted_one() {
        let disks = ["vda", "vdb"].map(OsString::from);
        assert_eq!(choose(&disks[..1], |_| false), Some("vda".into()));
        assert_eq!(choose(&disks, |disk| disk == "vdb"), Some("vdb".into()));
        assert_eq!(choose(&disks, |_| false), None);
        assert_eq!(choose(&[], |_| true), None);
    }
}
