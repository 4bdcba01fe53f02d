//! `--name`: no two running machines share one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A name, taken until this is dropped. A process that dies leaves an unlocked file, which the next
/// one of the same name takes over.
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

impl Drop for Name {
    fn drop(&mut self) {
        // If it stays, the next machine of this name takes it over.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
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
    fn names_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in ["", "../x", ".x", "a/b", "a b"] {
            claim(folder.path(), wrong).unwrap_err();
        }
    }
}
