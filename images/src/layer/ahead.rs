//! Reading ahead: inflating and hashing go on in a thread of their own while what came before is
//! applied and written.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::Scope,
};

/// Bytes of one piece.
const PIECE: usize = 1 << 17;
/// Pieces that may wait: with their size, the memory that reading ahead takes.
const WAITING: usize = 8;

/// Gives out what a thread has read.
pub(crate) struct ReadAhead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    used: usize,
}

impl ReadAhead {
    /// Reads `source` to its end in a thread of `scope`. The thread ends early once this is dropped.
    pub(crate) fn spawn<'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: impl Read + Send + 'scope,
    ) -> Self {
        let (sender, pieces) = sync_channel(WAITING);
        scope.spawn(move || read_all(source, &sender));
        Self {
            pieces,
            current: Vec::new(),
            used: 0,
        }
    }
}

fn read_all(mut source: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let last = read.is_err() || piece.is_empty();
        let sent = match read {
            Ok(0) => Ok(()),
            Ok(_) => sender.send(Ok(piece)),
            Err(error) => sender.send(Err(error)),
        };
        if last || sent.is_err() {
            return;
        }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.current.len() {
            // The thread hangs up at the end.
            let Ok(piece) = self.pieces.recv() else {
                return Ok(0);
            };
            self.current = piece?;
            self.used = 0;
        }
        let length = (&self.current[self.used..]).read(buffer)?;
        self.used += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let content: Vec<u8> = (0..3 << 20_u32)
            .map(|index: u32| index.to_le_bytes()[1])
            .collect();
        let mut read = Vec::new();
        thread::scope(|scope| {
            ReadAhead::spawn(scope, content.as_slice())
                .read_to_end(&mut read)
                .unwrap();
        });
        assert!(read == content);
    }

    #[test]
    fn an_error_arrives_and_stays_the_end() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::QuotaExceeded.into())
            }
        }
        thread::scope(|scope| {
            let mut ahead = ReadAhead::spawn(scope, (&[1; 10][..]).chain(Failing));
            let error = ahead.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        });
    }

    #[test]
    fn a_reader_that_leaves_ends_the_thread() {
        thread::scope(|scope| {
            let mut ahead = ReadAhead::spawn(scope, io::repeat(1));
            ahead.read_exact(&mut [0; 10]).unwrap();
        });
    }
}
