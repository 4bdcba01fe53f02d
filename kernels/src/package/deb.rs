//! Debian binary packages, `deb(5)`: an `ar` archive around compressed tar archives.

use std::io::Read;
use std::mem;

use super::{Contents, ar, tarball};
use crate::FormatError;
use crate::compression::inflating;

/// Keeps the kernel files of a Debian package.
///
/// # Errors
/// If it is not one, or is damaged.
pub(crate) fn read_deb(package: impl Read, contents: &mut Contents) -> Result<(), FormatError> {
    let mut has_data = false;
    ar::read_members(package, |name, member| {
        if name == "data.tar" || name.starts_with("data.tar.") {
            if mem::replace(&mut has_data, true) {
                return Err(FormatError::malformed("It has several data.tar in it"));
            }
            tarball::read_files(inflating(member)?, |path, length, file| {
                contents.add(path, length, file)
            })?;
        }
        Ok(())
    })?;
    if has_data {
        Ok(())
    } else {
        Err(FormatError::malformed("It has no data.tar in it"))
    }
}
