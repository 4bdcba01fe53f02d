//! The tar archives inside packages.
//!
//! The tar crate reads the headers; names too long for a header, in GNU's or POSIX' form, are put
//! together here, where their length is bounded.

use std::io::{self, Read};

use tar::EntryType;

use crate::FormatError;
use crate::compression::read_bounded;

/// The longest extended header accepted, in bytes. A path has at most 4096.
const MAX_EXTENSION: u64 = 64 << 10;

/// The most entries accepted: Debian's ordinary kernel has 5,000.
const MAX_ENTRIES: usize = 200_000;

/// The largest archive accepted, inflated, in bytes.
pub(super) const MAX_ARCHIVE: u64 = 4 << 30;

/// Calls `visit` with the path, length and contents of every regular file of the archive.
pub(crate) fn read_files(
    archive: impl Read,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut archive = tar::Archive::new(archive.take(MAX_ARCHIVE));
    let mut long_path = None;
    for (count, entry) in archive.entries()?.raw(true).enumerate() {
        if count == MAX_ENTRIES {
            return Err(FormatError::malformed("It has too many files"));
        }
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = read_bounded(&mut entry, "A path in it", MAX_EXTENSION)?;
                name.truncate(
                    name.iter()
                        .position(|byte| *byte == 0)
                        .unwrap_or(name.len()),
                );
                long_path = Some(name);
            }
            EntryType::XHeader => {
                let records = read_bounded(&mut entry, "A header in it", MAX_EXTENSION)?;
                if let Some(path) = pax_path(&records)? {
                    long_path = Some(path);
                }
            }
            EntryType::Regular | EntryType::Continuous => {
                let path = long_path
                    .take()
                    .unwrap_or_else(|| entry.path_bytes().into_owned());
                if let Ok(path) = std::str::from_utf8(&path) {
                    visit(path, entry.size(), &mut entry)?;
                }
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            _ => long_path = None,
        }
    }
    Ok(())
}

/// As [`read_files`], up to the end of what is read: an archive, called `what` in the error if it has more
/// than `limit` bytes.
pub(crate) fn read_all_files(
    archive: impl Read,
    what: &str,
    limit: u64,
    visit: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut archive = archive.take(limit.saturating_add(1));
    let outcome = read_files(&mut archive, visit)
        .and_then(|()| Ok(io::copy(&mut archive, &mut io::sink()).map(drop)?));
    if archive.limit() == 0 {
        return Err(FormatError::TooLarge {
            what: what.to_owned(),
            limit,
        });
    }
    outcome
}

/// The `path` of a POSIX extended header: records of "LENGTH KEY=VALUE\n", the length in decimal
/// and of the whole record (`pax(1)`).
fn pax_path(mut records: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
    let malformed = || FormatError::malformed("An extended tar header in it is damaged");
    let mut path = None;
    while !records.is_empty() {
        let digits = records
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let length: usize = std::str::from_utf8(&records[..digits])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(malformed)?;
        let (record, rest) = records.split_at_checked(length).ok_or_else(malformed)?;
        let setting = record
            .get(digits..)
            .and_then(|setting| setting.strip_prefix(b" ")?.strip_suffix(b"\n"))
            .ok_or_else(malformed)?;
        if let Some(value) = setting.strip_prefix(b"path=") {
            path = Some(value.to_vec());
        }
        records = rest;
    }
    Ok(path)
}
