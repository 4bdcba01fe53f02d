//! `--name`: no two running machines share one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A name, taken until this is dropped. A process that dies leaves an unlocked file, which the next
/// one of the same name takes over and [`prune`] removes.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    _lock: File,
}

/// Takes `name`, whose file lies in `folder`.
pub fn claim(folder: &Path, name: &str) -> Result<Name> {
    let mut characters = name.chars();
    let valid = characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.len() <= 200;
    if !valid {
        bail!(
            "Invalid name {name:?}: use a letter or digit, then letters, digits and any of _ . -"
        );
    }
    fs::create_dir_all(folder).with_context(|| format!("Cannot make {}", folder.display()))?;
    // While names are pruned, one that nobody has can look taken.
    let _unpruned = lock(folder, File::lock_shared)?;
    let path = folder.join(name);
    let context = || format!("Cannot take the name {name}: {}", path.display());
    loop {
        let file = File::create(&path).with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("The name {name} is in use by a running machine")
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(context),
        }
        // The machine that had the name may have removed the file between our two steps: then the
        // lock is on a file that nobody else will find.
        if images::is_at(&file, &path)? {
            return Ok(Name { path, _lock: file });
        }
    }
}

/// Removes the files that dead processes left.
pub fn prune(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let _unclaimed = lock(folder, File::lock)?;
    let context = || format!("Cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let context = || format!("Cannot remove {}", path.display());
        // It may have gone meanwhile, or be none of ours.
        let Ok(file) = File::options().write(true).open(&path) else {
            continue;
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(e)) => return Err(e).with_context(context),
        }
        if images::is_at(&file, &path)? {
            fs::remove_file(&path).with_context(context)?;
        }
    }
    Ok(())
}

/// The folder of names, locked until this is dropped.
fn lock(folder: &Path, how: fn(&File) -> io::Result<()>) -> Result<File> {
    let context = || format!("Cannot lock {}", folder.display());
    let file = File::open(folder).with_context(context)?;
    how(&file).with_context(context)?;
    Ok(file)
}

impl Drop for Name {
    fn drop(&mut self) {
        // If it stays, the next machine of this name takes it over.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_after() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path(), "snake").unwrap();
        let error = claim(folder.path(), "snake").unwrap_err();
        assert!(error.to_string().contains("in use"), "{error:#}");
        claim(folder.path(), "other").unwrap();
        drop(first);
        claim(folder.path(), "snake").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_dead_processes_left_is_free_and_pruned() {
        let folder = tempfile::tempdir().unwrap();
        prune(&folder.path().join("missing")).unwrap();
        for name in ["a", "b"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let taken = claim(folder.path(), "a").unwrap();
        prune(folder.path()).unwrap();
        claim(folder.path(), "a").unwrap_err();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        drop(taken);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_can_be_taken_while_they_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snake");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let pruner = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    prune(folder.path()).unwrap();
                }
            });
            let taken = (0..10_000).try_for_each(|_| {
                fs::write(&path, "")?;
                let name = claim(folder.path(), "snake")?;
                images::is_at(&name._lock, &path)?
                    .then_some(())
                    .context("A name that is in use was pruned")
            });
            done.store(true, Ordering::Relaxed);
            pruner.join().unwrap();
            taken.unwrap();
        });
    }

    #[test]
    fn names_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in ["", "../x", ".x", "a/b", "a b"] {
            claim(folder.path(), wrong).unwrap_err();
        }
    }
}
