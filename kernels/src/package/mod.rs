//! The packages that kernels come in, and what is taken out of them.

mod apk;
mod ar;
mod deb;
mod files;
mod tarball;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

pub(crate) use apk::{ControlChecksum, read_apk};
pub(crate) use deb::read_deb;
pub(crate) use files::read_tree;
pub(crate) use tarball::{read_all_files, read_files};

use crate::FormatError;
use crate::compression::read_bounded;
use crate::modules::is_module;

/// The largest sum of the files kept from a package, in bytes: five times Debian's largest.
const MAX_CONTENTS: u64 = 2 << 30;

/// The longest sum of the paths of the files kept, in bytes: forty times that of Debian's 4,000 modules.
const MAX_PATHS: usize = 16 << 20;

/// The files of a package that may matter, in one temporary file without a name: of a process that
/// dies, nothing is left.
#[derive(Debug)]
pub(crate) struct Contents {
    spool: File,
    /// Where each file's bytes are, by its path without a leading slash.
    files: BTreeMap<String, Span>,
    /// Bytes of all paths together.
    paths_length: usize,
    length: u64,
    kept_as: fn(&str) -> Option<&str>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    length: u64,
}

impl Contents {
    /// Nothing yet; the temporary file is made in `dir`. `kept_as` gives the path under which a file
    /// of the package is kept, `None` if it does not matter.
    pub(crate) fn new_in(dir: &Path, kept_as: fn(&str) -> Option<&str>) -> io::Result<Self> {
        Ok(Self {
            spool: tempfile::tempfile_in(dir)?,
            files: BTreeMap::new(),
            paths_length: 0,
            length: 0,
            kept_as,
        })
    }

    /// Keeps a file of `length` bytes if its path is one that matters.
    pub(crate) fn add(
        &mut self,
        path: &str,
        length: u64,
        file: &mut dyn Read,
    ) -> Result<(), FormatError> {
        let Some(path) = (self.kept_as)(path) else {
            return Ok(());
        };
        self.paths_length += path.len();
        if self.paths_length > MAX_PATHS {
            return Err(FormatError::malformed(
                "The paths in it are longer than any kernel's",
            ));
        }
        if length > MAX_CONTENTS - self.length {
            return Err(FormatError::TooLarge {
                what: "What is wanted of it".to_owned(),
                limit: MAX_CONTENTS,
            });
        }
        self.spool.seek(SeekFrom::Start(self.length))?;
        if io::copy(&mut file.take(length), &mut self.spool)? < length {
            return Err(FormatError::Malformed(format!(
                "It ends in the middle of {path}"
            )));
        }
        let start = self.length;
        self.length += length;
        self.files.insert(path.to_owned(), Span { start, length });
        Ok(())
    }

    /// The paths of all files kept.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The one file whose path begins with `prefix`, called `what` in the error.
    pub(crate) fn the_only(&self, prefix: &str, what: &str) -> Result<&str, FormatError> {
        let mut found = self.paths().filter(|path| path.starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(path), None) => Ok(path),
            (None, _) => Err(FormatError::Malformed(format!("It has no {what}"))),
            (Some(_), Some(_)) => Err(FormatError::Malformed(format!("It has several {what}s"))),
        }
    }

    /// The bytes of a file of at most `limit` bytes.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FormatError> {
        let span = self
            .files
            .get(path)
            .ok_or_else(|| FormatError::Malformed(format!("It has no {path}")))?;
        let mut spool = &self.spool;
        spool.seek(SeekFrom::Start(span.start))?;
        read_bounded(spool.take(span.length), path, limit)
    }
}

/// The path under which a file of a kernel's package is kept: relative, and without the `usr/` that some
/// distributions put before it; `None` if it does not matter.
pub(crate) fn kept_as(path: &str) -> Option<&str> {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let matters = path.starts_with(KERNEL_PREFIX)
        || path.starts_with(CONFIG_PREFIX)
        || path.starts_with("lib/modules/")
            && (is_module(path)
                || path.ends_with("/modules.builtin")
                || path.ends_with("/modules.builtin.modinfo"));
    matters.then_some(path)
}

/// How the path of a package's kernel begins: `vmlinuz`, or `vmlinux` where it is not compressed.
pub(crate) const KERNEL_PREFIX: &str = "boot/vmlinu";
/// How the path of a package's kernel configuration begins.
pub(crate) const CONFIG_PREFIX: &str = "boot/config-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_come_to_an_end() {
        let mut contents = Contents::new_in(&std::env::temp_dir(), kept_as).unwrap();
        let folder = format!("lib/modules/{}", "x".repeat(60_000));
        let added = (0..MAX_PATHS / folder.len()).all(|number| {
            contents
                .add(&format!("{folder}/{number}.ko"), 0, &mut std::io::empty())
                .is_ok()
        });
        assert!(added);
        let error = contents.add(&format!("{folder}/last.ko"), 0, &mut std::io::empty());
        assert!(matches!(error, Err(FormatError::Malformed(_))), "{error:?}");
    }

    #[test]
    fn keeps_what_matters_wherever_distributions_put_it() {
        for (path, kept) in [
            ("./boot/vmlinuz-6.1.0", Some("boot/vmlinuz-6.1.0")),
            ("boot/vmlinuz-virt", Some("boot/vmlinuz-virt")),
            ("boot/vmlinux-6.12", Some("boot/vmlinux-6.12")),
            ("./boot/config-6.1.0", Some("boot/config-6.1.0")),
            ("./boot/System.map-6.1.0", None),
            (
                "usr/lib/modules/6/kernel/a.ko.zst",
                Some("lib/modules/6/kernel/a.ko.zst"),
            ),
            (
                "lib/modules/6/modules.builtin",
                Some("lib/modules/6/modules.builtin"),
            ),
            ("lib/modules/6/modules.dep", None),
            ("usr/share/doc/a.ko", None),
        ] {
            assert_eq!(kept_as(path), kept, "{path}");
        }
    }
}
