//! Blobs: read from the store with their digest checked, and taken in as they stream.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::Store;
use crate::{
    Digest, Error, Event, Progress,
    digest::Hasher,
    error::FileContext,
    manifest::Descriptor,
    staging::{self, Acquired, Staged},
};

/// How a blob comes in.
pub(crate) enum Ingest {
    /// The store has it.
    Present,
    /// The caller brings the bytes, from [`BlobWriter::offset`] on.
    Wanted(Box<BlobWriter>),
}

/// Takes a blob in, checking size and digest. Dropped before its end, it leaves what came so far, for
/// the next try to go on from.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    staged: Staged,
    expected: Descriptor,
    hasher: Hasher,
}

impl Store {
    /// Begins to take in the blob of `descriptor`; waits if another process does so.
    pub(crate) fn ingest(&self, descriptor: &Descriptor) -> Result<Ingest, Error> {
        let staged = loop {
            let staging = self.ingest_path(&descriptor.digest);
            match staging::acquire(staging, self.blob_path(&descriptor.digest))? {
                Acquired::Present if self.is_right(descriptor)? => return Ok(Ingest::Present),
                Acquired::Present => {}
                Acquired::Staged(staged) => break staged,
            }
        };
        let mut writer = BlobWriter {
            staged,
            expected: descriptor.clone(),
            hasher: Hasher::default(),
        };
        writer.rehash()?;
        Ok(Ingest::Wanted(Box::new(writer)))
    }

    /// Whether the blob of `descriptor`, which the store has, is as long as that says. One that was
    /// damaged on this host's disk is removed; if it is the descriptor that is wrong, that is the error.
    fn is_right(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let path = self.blob_path(&descriptor.digest);
        let mut file = match self.open_blob(&descriptor.digest) {
            Err(Error::MissingBlob { .. }) => return Ok(false),
            file => file?,
        };
        let length = file.metadata().context("examine", &path)?.len();
        if length == descriptor.size {
            return Ok(true);
        }
        let mut hasher = Hasher::default();
        io::copy(&mut file, &mut hasher).context("read", &path)?;
        if hasher.finish() == descriptor.digest {
            let what = || format!("blob {}", descriptor.digest);
            check_size(what, descriptor.size, length)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("remove", path)
            }
            _ => Ok(false),
        }
    }

    /// Puts a small document into the store.
    pub(crate) fn put(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        match self.ingest(descriptor)? {
            Ingest::Present => Ok(()),
            Ingest::Wanted(mut writer) => {
                writer.restart()?;
                writer.write(bytes)?;
                writer.finish()
            }
        }
    }

    /// Reads a small document, at most `limit` bytes, and checks it against its descriptor.
    pub(crate) fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let what = || format!("blob {}", descriptor.digest);
        let file = self.open_blob(&descriptor.digest)?;
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .context("read", self.blob_path(&descriptor.digest))?;
        check_size(what, descriptor.size.min(limit), bytes.len() as u64)?;
        check_digest(what, descriptor.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Opens a blob; its content is not checked.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::MissingBlob { digest: *digest },
            _ => Error::File {
                action: "open",
                path,
                source: error,
            },
        })
    }
}

impl BlobWriter {
    /// Bytes that an earlier try left: where to go on.
    pub(crate) fn offset(&self) -> u64 {
        self.hasher.length()
    }

    /// Opens the file that the bytes go to, for reading. It does not share the lock: who waits for that
    /// must not wait for readers as well.
    pub(crate) fn open(&self) -> Result<File, Error> {
        let path = self.staged.path();
        File::open(path).context("open", path)
    }

    /// Forgets what came so far.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.hasher = Hasher::default();
        let mut file = self.staged.file();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .context("empty", self.staged.path())
    }

    /// Takes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        if self.hasher.length() > self.expected.size {
            let actual = self.hasher.length();
            self.restart()?;
            return check_size(|| self.what(), self.expected.size, actual);
        }
        let mut file = self.staged.file();
        file.write_all(bytes).context("write", self.staged.path())
    }

    /// Takes everything that `content`, a part of `path`, gives.
    pub(crate) fn copy(
        &mut self,
        content: &mut impl Read,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = content.read(&mut buffer).context("read", path)?;
            if length == 0 {
                return Ok(());
            }
            self.write(&buffer[..length])?;
            progress.event(Event::LayerBytes {
                digest: &self.expected.digest,
                bytes: self.offset(),
            });
        }
    }

    /// Whether what came is what the descriptor promised.
    pub(crate) fn is_right(&self) -> bool {
        self.offset() == self.expected.size && self.hasher.clone().finish() == self.expected.digest
    }

    /// Makes the blob part of the store if it is what its descriptor promised; else forgets it.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let what = || self.what();
        let actual = self.hasher.clone().finish();
        let checked = check_size(what, self.expected.size, self.hasher.length())
            .and_then(|()| check_digest(what, self.expected.digest, actual));
        match checked {
            Ok(()) => self.staged.commit(),
            Err(error) => {
                self.staged.discard()?;
                Err(error)
            }
        }
    }

    fn what(&self) -> String {
        format!("blob {}", self.expected.digest)
    }

    /// Brings the hash up to what the staging file holds.
    fn rehash(&mut self) -> Result<(), Error> {
        let mut reader = BufReader::with_capacity(1 << 16, self.staged.file());
        let mut buffer = [0; 1 << 14];
        loop {
            let length = reader
                .read(&mut buffer)
                .context("read", self.staged.path())?;
            if length == 0 {
                break;
            }
            self.hasher.update(&buffer[..length]);
        }
        drop(reader);
        if self.hasher.length() > self.expected.size {
            return self.restart();
        }
        let mut file = self.staged.file();
        file.seek(SeekFrom::Start(self.hasher.length()))
            .context("read", self.staged.path())?;
        Ok(())
    }
}

pub(crate) fn check_size(
    what: impl Fn() -> String,
    expected: u64,
    actual: u64,
) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::SizeMismatch {
        what: what(),
        expected,
        actual,
    })
}

pub(crate) fn check_digest(
    what: impl Fn() -> String,
    expected: Digest,
    actual: Digest,
) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        what: what(),
        expected,
        actual,
    })
}
