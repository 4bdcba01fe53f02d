//! How new the indexes were that were accepted before.
//!
//! An old index has a right signature too: a mirror could keep serving one, and with it a kernel
//! whose holes are known. So no index is accepted that is older than the last one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::FormatError;

/// For each repository, when the newest package of its index was built, in seconds since 1970-01-01
/// UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Seen(BTreeMap<String, u64>);

impl Seen {
    /// Notes that a repository's index has this age.
    ///
    /// # Errors
    /// If an index was seen before that is newer.
    pub(super) fn accept(
        &mut self,
        repository: &str,
        newest_build: u64,
    ) -> Result<(), FormatError> {
        let last = self.0.entry(repository.to_owned()).or_default();
        if newest_build < *last {
            return Err(FormatError::malformed(
                "It is older than the index that was seen last time: \
                 the mirror is out of date, or replays an old state",
            ));
        }
        *last = newest_build;
        Ok(())
    }
}
