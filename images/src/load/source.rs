//! A folder, or a tar archive seen as one.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufReader, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Error,
    error::FileContext,
    layer::{Decoder, EntryKind, LayerError, MAX_WINDOW, TarReader},
};

/// The most files taken in one archive.
const MAX_FILES: usize = 100_000;
/// The longest name of a file in an archive that is kept, in bytes: what an image consists of has far
/// shorter ones. With [`MAX_FILES`] this bounds the memory that a hostile archive can take.
const MAX_NAME: usize = 512;
/// The most bytes that an archive may inflate to: as many as the layers of an image.
const MAX_INFLATED: u64 = 64 << 30;

/// Where an image's files are read from.
pub(super) struct Source {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Folder,
    /// An archive, inflated, with the place of each file in it: offset and length.
    Archive(Arc<File>, HashMap<Vec<u8>, (u64, u64)>),
}

impl Source {
    /// Opens a folder or archive. What cannot be read in any order is copied to an unnamed temporary file
    /// in the folder `temporary` first, inflated.
    pub(super) fn open(path: &Path, temporary: &Path) -> Result<Self, Error> {
        let file = File::open(path).context("open", path)?;
        let metadata = file.metadata().context("examine", path)?;
        if metadata.is_dir() {
            return Ok(Self {
                path: path.to_owned(),
                kind: Kind::Folder,
            });
        }
        if !metadata.is_file() {
            return Self::stream(file, path.to_owned(), temporary);
        }
        let head = file.try_clone().context("open", path)?;
        match decoder(head, path)? {
            Decoder::Plain(_) => Self::archive(file, path.to_owned()),
            decoder => Self::archive(spool(decoder, path, temporary)?, path.to_owned()),
        }
    }

    /// An archive that can be read once, copied to an unnamed temporary file.
    pub(super) fn stream(
        archive: impl Read + Send + 'static,
        path: PathBuf,
        temporary: &Path,
    ) -> Result<Self, Error> {
        let decoder = decoder(archive, &path)?;
        Self::archive(spool(decoder, &path, temporary)?, path)
    }

    fn archive(file: File, path: PathBuf) -> Result<Self, Error> {
        let file = Arc::new(file);
        let places = places(&file, &path)?;
        Ok(Self {
            path,
            kind: Kind::Archive(file, places),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn not_an_image(&self, reason: &str) -> Error {
        not_an_image(&self.path, reason)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Folder => self.path.join(name).is_file(),
            Kind::Archive(_, places) => places.contains_key(name.as_bytes()),
        }
    }

    /// Reads a small file, at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let (reader, length) = self.open_file(name)?;
        if length > limit {
            return Err(self.not_an_image(&format!("its {name} is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        reader
            .take(limit)
            .read_to_end(&mut bytes)
            .context("read", self.path.join(name))?;
        Ok(bytes)
    }

    /// Opens a file of the image; also gives its length in bytes.
    pub(super) fn open_file(&self, name: &str) -> Result<(Box<dyn Read>, u64), Error> {
        if name.split('/').any(|part| matches!(part, "" | "..")) {
            return Err(self.not_an_image("it names a file outside of itself"));
        }
        match &self.kind {
            Kind::Folder => {
                let path = self.path.join(name);
                // Somebody may have put a pipe there, on which opening would wait for ever.
                let file = OpenOptions::new()
                    .read(true)
                    .custom_flags(nonblocking())
                    .open(&path)
                    .context("open", &path)?;
                let metadata = file.metadata().context("examine", &path)?;
                if !metadata.is_file() {
                    return Err(self.not_an_image(&format!("its {name} is not a file")));
                }
                Ok((Box::new(file), metadata.len()))
            }
            Kind::Archive(file, places) => {
                let &(offset, length) = places.get(name.as_bytes()).ok_or_else(|| {
                    self.not_an_image(&format!("{name} is missing: is the file complete?"))
                })?;
                let part = Part {
                    file: Arc::clone(file),
                    offset,
                    end: offset + length,
                };
                Ok((Box::new(part), length))
            }
        }
    }
}

/// A stretch of a file.
struct Part {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let length = self.file.read_at(&mut buffer[..room], self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

fn not_an_image(path: &Path, reason: &str) -> Error {
    Error::NotAnImage {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn explain(path: &Path, error: LayerError) -> Error {
    match error {
        LayerError::UnknownFormat => not_an_image(path, "it is not a tar archive"),
        LayerError::Read(source) => Error::File {
            action: "read",
            path: path.to_owned(),
            source,
        },
        error => not_an_image(path, &error.to_string()),
    }
}

fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

fn decoder(archive: impl Read + Send + 'static, path: &Path) -> Result<Decoder, Error> {
    let archive = Box::new(BufReader::with_capacity(1 << 17, archive));
    Decoder::new(archive, MAX_WINDOW).map_err(|error| explain(path, error))
}

/// An unnamed temporary file with all that an archive inflates to. It is gone with this process.
fn spool(decoder: Decoder, path: &Path, temporary: &Path) -> Result<File, Error> {
    let mut file = tempfile::tempfile_in(temporary).context("create a file in", temporary)?;
    let length =
        std::io::copy(&mut decoder.take(MAX_INFLATED), &mut file).context("inflate", path)?;
    if length == MAX_INFLATED {
        let reason = format!("it inflates to {} GiB or more", MAX_INFLATED >> 30);
        return Err(not_an_image(path, &reason));
    }
    Ok(file)
}

/// Finds the regular files of an archive; symbolic links count as the files they name.
fn places(file: &Arc<File>, path: &Path) -> Result<HashMap<Vec<u8>, (u64, u64)>, Error> {
    let mut places = HashMap::new();
    let mut links = Vec::new();
    let from_start = Part {
        file: Arc::clone(file),
        offset: 0,
        end: u64::MAX,
    };
    let mut archive = TarReader::new(BufReader::with_capacity(1 << 17, from_start));
    while let Some(entry) = archive.next_entry().map_err(|error| explain(path, error))? {
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if name.len() > MAX_NAME {
            continue;
        }
        match entry.kind {
            EntryKind::File { size, segments } => {
                let content: u64 = segments.iter().map(|segment| segment.length).sum();
                if content == size {
                    places.insert(name.to_vec(), (archive.offset(), size));
                }
            }
            EntryKind::Symlink(target) if target.len() <= MAX_NAME => {
                links.push((name.to_vec(), target));
            }
            _ => {}
        }
        if places.len() + links.len() > MAX_FILES {
            return Err(not_an_image(
                path,
                &format!("it has more than {MAX_FILES} files"),
            ));
        }
    }
    // Old `docker save` stores a layer that occurs twice as a link: ../ID/layer.tar.
    for (name, target) in links {
        let target = target.strip_prefix(b"../").unwrap_or(&target);
        if let Some(&place) = places.get(target) {
            places.insert(name, place);
        }
    }
    Ok(places)
}
