//! Private sectors in a file without a name, at the offsets they have on the disk: what the guest
//! never wrote to takes no room, and all of it is gone with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Names to try where files cannot be made without one.
const ATTEMPTS: u32 = 16;

/// A file of `size` bytes in `folder`, all of them holes.
pub(super) fn create(folder: &Path, size: u64) -> io::Result<File> {
    let file = match options().custom_flags(libc::O_TMPFILE).open(folder) {
        // An old kernel takes the flag for `O_DIRECTORY`, a file system may not have it.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) =>
        {
            create_named(folder)
        }
        file => file,
    }?;
    file.set_len(size)?;
    Ok(file)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// The file has a name for a moment only.
fn create_named(folder: &Path) -> io::Result<File> {
    let mut attempt = 0;
    loop {
        let mut random = [0; 8];
        crate::random::fill(&mut random)?;
        let path = folder.join(format!("terrarium-{:016x}", u64::from_ne_bytes(random)));
        match options().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                attempt += 1;
            }
            file => {
                let file = file?;
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
}

/// Whether the file's system can give the room of a range back.
pub(super) fn can_punch(file: &File) -> bool {
    punch(file, 0, 4096).is_ok()
}

/// Makes a range a hole, which reads as zeroes and takes no room.
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    let length = i64::try_from(length).map_err(io::Error::other)?;
    // SAFETY: no memory is involved.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), PUNCH_MODE, offset, length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How `fallocate(2)` is asked to make a hole.
pub(super) const PUNCH_MODE: libc::c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_nothing_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let made = [
            create(folder.path(), 1 << 30).unwrap(),
            create_named(folder.path()).unwrap(),
        ];
        assert_eq!(made[0].metadata().unwrap().len(), 1 << 30);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for file in made {
            assert!(can_punch(&file));
            assert_eq!(
                std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap()),
                0
            );
        }
        let missing = create(&folder.path().join("missing"), 1).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
