//! The common `ar` archive (`ar(5)`), as far as Debian packages use it: short names only.

use std::io::{self, Read};

use crate::FormatError;

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_LENGTH: usize = 60;
/// Ends each header.
const HEADER_END: &[u8] = b"`\n";

/// A Debian package has three members; room for a few that are to be ignored (`deb(5)`).
const MAX_MEMBERS: usize = 64;

/// Calls `visit` with the name and contents of each member, in order.
pub(super) fn read_members(
    mut archive: impl Read,
    mut visit: impl FnMut(&str, &mut dyn Read) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let malformed = || FormatError::malformed("It is not a Debian package (no ar archive)");
    let mut magic = [0; MAGIC.len()];
    archive.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(malformed());
    }
    for _ in 0..MAX_MEMBERS {
        let mut header = Vec::with_capacity(HEADER_LENGTH);
        archive
            .by_ref()
            .take(u64::try_from(HEADER_LENGTH).unwrap_or(u64::MAX))
            .read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(());
        }
        if header.len() != HEADER_LENGTH || &header[58..] != HEADER_END {
            return Err(malformed());
        }
        let text = |field: &[u8]| String::from_utf8_lossy(field).trim_end().to_owned();
        // Some archivers end the name with a slash.
        let name = text(&header[..16]);
        let size: u64 = text(&header[48..58]).parse().map_err(|_| malformed())?;

        let mut member = archive.by_ref().take(size);
        visit(name.trim_end_matches('/'), &mut member)?;
        io::copy(&mut member, &mut io::sink())?;
        if member.limit() > 0 {
            return Err(FormatError::malformed("It ends in the middle of a member"));
        }
        if size % 2 == 1 {
            io::copy(&mut archive.by_ref().take(1), &mut io::sink())?;
        }
    }
    Err(malformed())
}
