//! A folder, or a tar archive seen as one.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
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
/// The most bytes that a compressed archive may inflate to.
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
    /// Opens a folder or archive. A compressed archive is inflated to an unnamed temporary file once.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).context("open", path)?;
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else {
            let file = inflated(path)?;
            let places = places(&file, path)?;
            Kind::Archive(Arc::new(file), places)
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
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
                let file = File::open(&path).context("open", &path)?;
                let length = file.metadata().context("examine", &path)?.len();
                Ok((Box::new(file), length))
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

/// The archive itself, or an unnamed temporary file with what it inflates to.
fn inflated(path: &Path) -> Result<File, Error> {
    let mut file = File::open(path).context("open", path)?;
    let head = file.try_clone().context("open", path)?;
    let source = std::io::BufReader::with_capacity(1 << 17, head);
    let decoder =
        Decoder::new(Box::new(source), MAX_WINDOW).map_err(|error| explain(path, error))?;
    if matches!(decoder, Decoder::Plain(_)) {
        file.seek(SeekFrom::Start(0)).context("read", path)?;
        return Ok(file);
    }
    let mut inflated = tempfile::tempfile().context("create", std::env::temp_dir())?;
    let length =
        std::io::copy(&mut decoder.take(MAX_INFLATED), &mut inflated).context("inflate", path)?;
    if length == MAX_INFLATED {
        let reason = format!("it inflates to {} GiB or more", MAX_INFLATED >> 30);
        return Err(not_an_image(path, &reason));
    }
    inflated.seek(SeekFrom::Start(0)).context("read", path)?;
    Ok(inflated)
}

/// Finds the regular files of an archive; symbolic links count as the files they name.
fn places(file: &File, path: &Path) -> Result<HashMap<Vec<u8>, (u64, u64)>, Error> {
    let mut places = HashMap::new();
    let mut links = Vec::new();
    let mut archive = TarReader::new(std::io::BufReader::with_capacity(1 << 17, file));
    while let Some(entry) = archive.next_entry().map_err(|error| explain(path, error))? {
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        match entry.kind {
            EntryKind::File { size, segments } => {
                let content: u64 = segments.iter().map(|segment| segment.length).sum();
                if content == size {
                    places.insert(name.to_vec(), (archive.offset(), size));
                }
            }
            EntryKind::Symlink(target) => links.push((name.to_vec(), target)),
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
