//! Layers on their way into the store, read while they come: a disk is built beside the download.
//!
//! A reader gets what has been written so far and waits for more. It sees the end only once the blob is
//! complete and its digest was right, so what has read to the end has read the right bytes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{Digest, Error, Store, manifest::Descriptor};

/// The layers of an image, the lowest first.
#[derive(Debug)]
pub(crate) struct Arrivals(Vec<Arc<Arrival>>);

/// One layer.
#[derive(Debug)]
pub(crate) struct Arrival {
    digest: Digest,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    state: State,
    /// It began anew after some of it had come: what was read until then may have been wrong.
    restarted: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing has come yet.
    #[default]
    Expected,
    /// The file holds so many bytes of it.
    Coming { file: Arc<File>, bytes: u64 },
    /// It is in the store.
    Stored,
    /// It will not come.
    Failed,
}

impl Arrivals {
    pub(crate) fn new(layers: &[Descriptor]) -> Self {
        let arrival = |layer: &Descriptor| Arrival {
            digest: layer.digest,
            progress: Mutex::default(),
            changed: Condvar::new(),
        };
        Self(layers.iter().map(arrival).map(Arc::new).collect())
    }

    /// The layers, for those who bring them.
    pub(crate) fn layers(&self) -> &[Arc<Arrival>] {
        &self.0
    }

    /// Gives up on every layer that is not in the store.
    pub(crate) fn end(&self) {
        for arrival in &self.0 {
            arrival.change(|progress| {
                if !matches!(progress.state, State::Stored) {
                    progress.state = State::Failed;
                }
            });
        }
    }

    /// Waits until every layer is in the store or will not come; tells whether one began anew.
    pub(crate) fn restarted(&self) -> bool {
        let mut restarted = false;
        for arrival in &self.0 {
            let mut progress = arrival.lock();
            while matches!(progress.state, State::Expected | State::Coming { .. }) {
                progress = arrival.wait(progress);
            }
            restarted |= progress.restarted;
        }
        restarted
    }

    /// Opens a layer as soon as the first of it has come.
    pub(crate) fn open(&self, store: &Store, index: usize) -> Result<Box<dyn Read + Send>, Error> {
        let arrival = &self.0[index];
        let mut progress = arrival.lock();
        loop {
            match &progress.state {
                State::Expected => progress = arrival.wait(progress),
                State::Coming { file, .. } => {
                    return Ok(Box::new(Reader {
                        file: Arc::clone(file),
                        arrival: Arc::clone(arrival),
                        position: 0,
                    }));
                }
                State::Stored => return Ok(Box::new(store.open_blob(&arrival.digest)?)),
                State::Failed => {
                    return Err(Error::MissingBlob {
                        digest: arrival.digest,
                    });
                }
            }
        }
    }
}

impl Arrival {
    /// It comes into `file`, which holds `bytes` of it.
    pub(crate) fn coming(&self, file: File, bytes: u64) {
        let file = Arc::new(file);
        self.change(|progress| progress.state = State::Coming { file, bytes });
    }

    /// There are so many bytes of it now.
    pub(crate) fn reached(&self, now: u64) {
        self.change(|progress| {
            if let State::Coming { bytes, .. } = &mut progress.state {
                progress.restarted |= now < *bytes;
                *bytes = now;
            }
        });
    }

    /// It is in the store.
    pub(crate) fn stored(&self) {
        self.change(|progress| progress.state = State::Stored);
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, progress: MutexGuard<'a, Progress>) -> MutexGuard<'a, Progress> {
        self.changed
            .wait(progress)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a layer that is coming.
struct Reader {
    file: Arc<File>,
    arrival: Arc<Arrival>,
    position: u64,
}

impl Reader {
    /// Waits until there is more; tells whether there is.
    fn more(&self) -> io::Result<bool> {
        let mut progress = self.arrival.lock();
        loop {
            if progress.restarted {
                return Err(io::Error::other("the layer began anew"));
            }
            match progress.state {
                State::Coming { bytes, .. } if bytes > self.position => return Ok(true),
                State::Expected | State::Coming { .. } => progress = self.arrival.wait(progress),
                // Complete: what is left stands in the file.
                State::Stored => return Ok(false),
                State::Failed => return Err(io::Error::other("the layer did not arrive")),
            }
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let more = self.more()?;
        let length = self.file.read_at(buffer, self.position)?;
        if length == 0 && more && !buffer.is_empty() {
            // It was emptied between the two steps.
            return Err(io::Error::other("the layer began anew"));
        }
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread, time::Duration};

    use super::*;

    fn arrivals() -> (tempfile::TempDir, Store, Arrivals, File) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let layer = Descriptor::of("", b"abcdef");
        let arrivals = Arrivals::new(&[layer]);
        let file = tempfile::tempfile().unwrap();
        (folder, store, arrivals, file)
    }

    #[test]
    fn a_reader_gets_everything_as_it_comes() {
        let (_folder, store, arrivals, mut file) = arrivals();
        let layer = &arrivals.layers()[0];
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut text = String::new();
                let mut reader = arrivals.open(&store, 0).unwrap();
                reader.read_to_string(&mut text).unwrap();
                text
            });
            file.write_all(b"ab").unwrap();
            layer.coming(file.try_clone().unwrap(), 2);
            for (more, bytes) in [(b"cd", 4), (b"ef", 6)] {
                thread::sleep(Duration::from_millis(5));
                file.write_all(more).unwrap();
                layer.reached(bytes);
            }
            assert!(!reader.is_finished(), "the end comes with the digest");
            layer.stored();
            arrivals.end();
            assert_eq!(reader.join().unwrap(), "abcdef");
        });
        assert!(!arrivals.restarted());
    }

    #[test]
    fn a_reader_does_not_wait_for_what_will_not_come() {
        let (_folder, store, arrivals, file) = arrivals();
        let layer = &arrivals.layers()[0];
        thread::scope(|scope| {
            layer.coming(file, 2);
            let mut reader = arrivals.open(&store, 0).unwrap();
            layer.reached(0);
            let stale = scope.spawn(move || reader.read(&mut [0; 9]));
            assert!(stale.join().unwrap().is_err());
            arrivals.end();
            assert!(arrivals.restarted());
            assert!(arrivals.open(&store, 0).is_err());
        });
    }
}
