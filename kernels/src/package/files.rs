//! A kernel that comes as single files, such as one built from source.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::Contents;
use crate::FormatError;

/// How deep folders of modules may be nested.
const MAX_DEPTH: usize = 32;

/// Keeps the files of a module tree (`/lib/modules/VERSION`). Symbolic links in it are left out:
/// they lead to the sources that the kernel was built from.
pub(crate) fn read_tree(dir: &Path, contents: &mut Contents) -> Result<(), FormatError> {
    read_folder(dir, "lib/modules", MAX_DEPTH, contents)
}

fn read_folder(
    dir: &Path,
    name: &str,
    depth: usize,
    contents: &mut Contents,
) -> Result<(), FormatError> {
    let within = |error: io::Error| {
        FormatError::Read(io::Error::new(
            error.kind(),
            format!("{}: {error}", dir.display()),
        ))
    };
    if depth == 0 {
        return Err(FormatError::malformed(
            "Its module folders are nested too deep",
        ));
    }
    for entry in fs::read_dir(dir).map_err(within)? {
        let entry = entry.map_err(within)?;
        let kind = entry.file_type().map_err(within)?;
        let Some(name) = entry
            .file_name()
            .to_str()
            .map(|own| format!("{name}/{own}"))
        else {
            continue;
        };
        if kind.is_dir() {
            read_folder(&entry.path(), &name, depth - 1, contents)?;
        } else if kind.is_file() {
            let mut file = File::open(entry.path()).map_err(within)?;
            let length = file.metadata().map_err(within)?.len();
            contents.add(&name, length, &mut file)?;
        }
    }
    Ok(())
}
