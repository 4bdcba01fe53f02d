//! Lock files: which digest each image name stood for when it was locked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Reference, json_file, staging};

/// A JSON file of image names and digests, for keeping under version control.
#[derive(Clone, Debug)]
pub struct LockFile {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    images: BTreeMap<String, Digest>,
}

impl LockFile {
    /// Reads a lock file; one that does not exist is empty.
    ///
    /// # Errors
    /// If it cannot be read or is not a lock file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let content = json_file::read(path)?.unwrap_or(Content {
            version: 1,
            images: BTreeMap::new(),
        });
        if content.version != 1 {
            return Err(Error::Document {
                what: path.display().to_string(),
                reason: format!("it has version {}, only 1 is known", content.version),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    /// The digest that an image is locked to.
    #[must_use]
    pub fn get(&self, reference: &Reference) -> Option<Digest> {
        self.content.images.get(&reference.canonical()).copied()
    }

    /// Locks an image to a digest and writes the file, if that changes anything.
    ///
    /// # Errors
    /// If the file cannot be written; then it is as it was.
    pub fn lock(&mut self, reference: &Reference, digest: Digest) -> Result<(), Error> {
        let old = self.content.images.insert(reference.canonical(), digest);
        if old == Some(digest) {
            return Ok(());
        }
        let mut json = serde_json::to_vec_pretty(&self.content).map_err(|source| Error::Json {
            what: format!("lock file {}", self.path.display()),
            source,
        })?;
        json.push(b'\n');
        staging::replace(&self.path, &json, 0o666)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn remembers_digests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.lock");
        let name: Reference = "python:2.7".parse().unwrap();
        let digest = Digest::of(b"");
        let mut file = LockFile::read(&path).unwrap();
        assert_eq!(file.get(&name), None);
        file.lock(&name, digest).unwrap();
        let file = LockFile::read(&path).unwrap();
        assert_eq!(
            file.get(&"docker.io/library/python:2.7".parse().unwrap()),
            Some(digest)
        );
        assert_eq!(file.get(&"python:2.8".parse().unwrap()), None);
    }

    #[test]
    fn writes_through_links_and_beside_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let [path, target, other] =
            ["images.lock", "real", "images.new"].map(|name| folder.path().join(name));
        fs::write(&target, r#"{"version":1,"images":{}}"#).unwrap();
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink("real", &path).unwrap();
        let name: Reference = "python:2.7".parse().unwrap();
        let mut file = LockFile::read(&path).unwrap();
        file.lock(&name, Digest::of(b"")).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"mine");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        let file = LockFile::read(&target).unwrap();
        assert_eq!(file.get(&name), Some(Digest::of(b"")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn refuses_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.lock");
        for text in [
            "",
            "{}",
            r#"{"version":2,"images":{}}"#,
            r#"{"version":1,"images":{"a":"b"}}"#,
        ] {
            fs::write(&path, text).unwrap();
            assert!(LockFile::read(&path).is_err(), "{text}");
        }
    }
}
