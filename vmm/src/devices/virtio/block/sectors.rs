//! Which sectors of a disk are private: written to by this machine's guest.

use super::SECTOR;

/// One bit a sector. Memory for the bits is taken as they are set.
#[derive(Debug)]
pub(super) struct Sectors {
    words: Vec<u64>,
}

/// A piece of the disk that is all private or all of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) private: bool,
    /// In bytes.
    pub(super) length: u64,
}

impl Sectors {
    /// A disk of so many bytes, none of them private.
    pub(super) fn new(size: u64) -> Option<Self> {
        let words = usize::try_from(size.div_ceil(SECTOR).div_ceil(64)).ok()?;
        Some(Self {
            words: vec![0; words],
        })
    }

    /// The longest run of bytes from `offset` on, up to `limit` of them.
    pub(super) fn run(&self, offset: u64, limit: u64) -> Run {
        let end = offset + limit;
        let mut sector = offset / SECTOR;
        let private = self.word(sector) >> (sector % 64) & 1 != 0;
        while sector * SECTOR < end {
            let word = self.word(sector);
            let differing = if private { !word } else { word } >> (sector % 64);
            if differing != 0 {
                sector += u64::from(differing.trailing_zeros());
                break;
            }
            sector = (sector / 64 + 1) * 64;
        }
        Run {
            private,
            length: (sector * SECTOR).min(end) - offset,
        }
    }

    /// Makes whole sectors private, or the base's again. Offset and length are in bytes.
    pub(super) fn mark(&mut self, offset: u64, length: u64, private: bool) {
        let (mut sector, end) = (offset / SECTOR, (offset + length) / SECTOR);
        while sector < end {
            let count = (64 - sector % 64).min(end - sector);
            let bits = (u64::MAX >> (64 - count)) << (sector % 64);
            if let Some(word) = usize::try_from(sector / 64)
                .ok()
                .and_then(|index| self.words.get_mut(index))
            {
                *word = if private { *word | bits } else { *word & !bits };
            }
            sector += count;
        }
    }

    fn word(&self, sector: u64) -> u64 {
        let index = usize::try_from(sector / 64).unwrap_or(usize::MAX);
        self.words.get(index).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COUNT: u64 = 300;

    proptest! {
        #[test]
        fn agrees_with_one_flag_a_sector(
            marks in prop::collection::vec((0..COUNT, 0..COUNT, any::<bool>()), 0..12),
            start in 0..COUNT * SECTOR,
            limit in 1..COUNT * SECTOR,
        ) {
            let mut sectors = Sectors::new(COUNT * SECTOR).unwrap();
            let mut flags = vec![false; usize::try_from(COUNT).unwrap()];
            for (first, count, private) in marks {
                let count = count.min(COUNT - first);
                sectors.mark(first * SECTOR, count * SECTOR, private);
                let range = usize::try_from(first).unwrap()..usize::try_from(first + count).unwrap();
                flags[range].fill(private);
            }
            let flag = |byte: u64| flags[usize::try_from(byte / SECTOR).unwrap()];
            let limit = limit.min(COUNT * SECTOR - start);
            let run = sectors.run(start, limit);
            let expected = (start..start + limit).take_while(|&byte| flag(byte) == flag(start));
            prop_assert_eq!(run.private, flag(start));
            prop_assert_eq!(run.length, u64::try_from(expected.count()).unwrap());
        }
    }
}
