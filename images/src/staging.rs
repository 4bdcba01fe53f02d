//! Files that come into being whole or not at all, even when several processes make the same one.
//!
//! The bytes go to a staging file under an exclusive lock; when they are complete and on the medium,
//! the file is renamed to its final name. Whoever waits for the lock finds the final file afterwards,
//! or goes on where a dead process stopped: its lock ended with it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{Error, error::FileContext, private};

/// What [`acquire`] found.
pub(crate) enum Acquired {
    /// The final file exists.
    Present,
    /// The caller makes it.
    Staged(Staged),
}

/// A locked staging file. It stays behind when dropped, so that the work can go on later:
/// [`discard`](Self::discard) removes it.
#[derive(Debug)]
pub(crate) struct Staged {
    file: File,
    staging: PathBuf,
    destination: PathBuf,
}

/// Locks `staging` for making `destination`, waiting for a process that does the same.
pub(crate) fn acquire(staging: PathBuf, destination: PathBuf) -> Result<Acquired, Error> {
    loop {
        if destination.exists() {
            return Ok(Acquired::Present);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(private::FILE)
            .open(&staging)
            .context("create", &staging)?;
        file.lock().context("lock", &staging)?;
        // While this process waited, the file may have been renamed to its destination or removed.
        if is_at(&file, &staging)? && !destination.exists() {
            return Ok(Acquired::Staged(Staged {
                file,
                staging,
                destination,
            }));
        }
    }
}

/// Whether `path` still names the open `file`. Who has waited for a lock on a file asks this before
/// relying on it: whoever held the lock may have renamed or removed the file.
///
/// # Errors
/// If either cannot be examined.
pub fn is_at(file: &File, path: &Path) -> Result<bool, Error> {
    let open = file.metadata().context("examine", path)?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("examine", path),
    }
}

impl Staged {
    /// The staging file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The staging file, for writing from its beginning: what a process that died has left is gone.
    pub(crate) fn emptied(&self) -> Result<File, Error> {
        let file = self.file.try_clone().context("open", &self.staging)?;
        file.set_len(0).context("empty", &self.staging)?;
        Ok(file)
    }

    /// Bytes that it takes on the host.
    pub(crate) fn allocated_bytes(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata().context("examine", &self.staging)?;
        Ok(metadata.blocks() * 512)
    }

    /// Where it stands now, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.staging
    }

    /// Makes the file final.
    pub(crate) fn commit(self) -> Result<(), Error> {
        let finish = || {
            // The umask may have taken the owner's rights as well.
            let mode = Permissions::from_mode(private::FILE);
            let file = &self.file;
            file.set_permissions(mode)
                .and_then(|()| file.sync_all())
                .context("write", &self.staging)?;
            fs::rename(&self.staging, &self.destination).context("create", &self.destination)?;
            sync_parent(&self.destination)
        };
        finish().inspect_err(|_| {
            // The error at hand says more than a failure to clean up.
            let _ = fs::remove_file(&self.staging);
        })
    }

    /// Removes the file.
    pub(crate) fn discard(self) -> Result<(), Error> {
        fs::remove_file(&self.staging).context("remove", &self.staging)
    }
}

/// Replaces `path` by `bytes` at once: readers see the old file or the new one. Writers must hold a
/// lock of their own. A symbolic link stays, and leads to the new file. A file that is there keeps its
/// mode; a new one gets `mode`, less what the umask takes.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // Its name is one that nobody can foresee and put something else under.
    let mut new = tempfile::Builder::new()
        .suffix(NEW)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(parent(path))
        .context("create", path)?;
    if let Ok(old) = fs::metadata(path) {
        let kept = new.as_file().set_permissions(old.permissions());
        kept.context("create", path)?;
    }
    io::Write::write_all(&mut new, bytes).context("write", path)?;
    new.as_file().sync_all().context("write", path)?;
    new.persist(path)
        .map_err(|error| error.error)
        .context("create", path)?;
    sync_parent(path)
}

/// The end of the names of files that are about to replace another.
pub(crate) const NEW: &str = ".new";

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = parent(path);
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .context("write", parent)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread, time::Duration};

    use super::*;

    #[test]
    fn only_one_of_many_makes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let makers: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let staging = folder.path().join("x.partial");
                        match acquire(staging, folder.path().join("x")).unwrap() {
                            Acquired::Present => 0,
                            Acquired::Staged(staged) => {
                                thread::sleep(Duration::from_millis(20));
                                staged.file().write_all(b"whole").unwrap();
                                staged.commit().unwrap();
                                1
                            }
                        }
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(makers, 1);
        assert_eq!(fs::read(folder.path().join("x")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_next_goes_on_where_one_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let paths = || (folder.path().join("x.partial"), folder.path().join("x"));
        let stage = || {
            let (staging, destination) = paths();
            match acquire(staging, destination).unwrap() {
                Acquired::Staged(staged) => staged,
                Acquired::Present => panic!("present"),
            }
        };
        stage().file().write_all(b"half").unwrap();
        assert_eq!(stage().file().metadata().unwrap().len(), 4);
        stage().discard().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
