//! Bytes that are taken from the front, and zeroes after their end.

/// What is left of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// At most `most` bytes, fewer at the end.
    pub(super) fn slice(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.slice(N)) {
            *to = *from;
        }
        array
    }
}
