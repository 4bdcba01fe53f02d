//! Folders and files that are their owner's alone, whatever the umask: images can be as secret as the
//! registry that they come from, and nobody else may put a disk in place of another.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// The mode of folders made here.
const FOLDER: u32 = 0o700;
/// The mode of files made here.
pub(crate) const FILE: u32 = 0o600;

/// Makes a folder for its owner alone, and what is missing above it likewise, as the XDG base directory
/// specification asks for. What is there stays as it is.
///
/// # Errors
/// If it cannot be made.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_private_folder(parent)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // The umask may have taken more than others' rights.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(FOLDER)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file for writing that holds nothing but a lock, making it if it does not exist.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE)
        .open(path)
}
