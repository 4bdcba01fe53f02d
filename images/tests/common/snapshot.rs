//! Everything about a folder that can differ.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// A file of any kind, as `lstat` and its content show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    mode: u32,
    uid: u32,
    gid: u32,
    device: u64,
    links: u64,
    size: u64,
    time: (i64, i64),
    target: Option<PathBuf>,
    content: Option<images::Digest>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name of the same file.
    same_as: PathBuf,
}

/// The files below `root` by name.
pub(crate) fn take(root: &Path) -> BTreeMap<PathBuf, File> {
    let mut files = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(name) = pending.pop() {
        let path = root.join(&name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                pending.push(name.join(entry.unwrap().file_name()));
            }
            pending.sort_by(|a, b| b.cmp(a));
        }
        let first = first_names
            .entry(metadata.ino())
            .or_insert_with(|| name.clone());
        let is_directory = metadata.is_dir();
        files.insert(
            name,
            File {
                mode: metadata.mode(),
                uid: metadata.uid(),
                gid: metadata.gid(),
                device: metadata.rdev(),
                links: metadata.nlink(),
                // The size of a directory is its file system's own affair.
                size: if is_directory { 0 } else { metadata.size() },
                time: (metadata.mtime(), metadata.mtime_nsec()),
                target: metadata.is_symlink().then(|| fs::read_link(&path).unwrap()),
                content: metadata
                    .is_file()
                    .then(|| images::Digest::of(&fs::read(&path).unwrap())),
                xattrs: xattrs(&path),
                same_as: first.clone(),
            },
        );
    }
    files
}

/// The first difference, if any. Directories that no layer describes, and those in which umoci made one,
/// have the time of unpacking there; with us they depend on the layers only.
pub(crate) fn compare(
    ours: &BTreeMap<PathBuf, File>,
    theirs: &BTreeMap<PathBuf, File>,
) -> Result<(), String> {
    for name in ours.keys().chain(theirs.keys()) {
        let (Some(our), Some(their)) = (ours.get(name), theirs.get(name)) else {
            let who = if ours.contains_key(name) {
                "we"
            } else {
                "umoci"
            };
            return Err(format!("only {who} have {name:?}"));
        };
        let mut their = their.clone();
        let is_directory = our.mode & 0o170_000 == 0o040_000;
        if is_directory && is_present(their.time.0) {
            their.time = our.time;
        }
        if *our != their {
            return Err(format!(
                "{name:?} differs:\n  ours   {our:?}\n  umoci's {their:?}"
            ));
        }
    }
    Ok(())
}

/// Whether a time is that of this test's run; no generated time is.
fn is_present(seconds: i64) -> bool {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    now.as_secs().abs_diff(seconds.unsigned_abs()) < 3600
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut buffer[..]).unwrap();
    let names = buffer[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let key = OsString::from_vec(name.to_vec());
            let length = rustix::fs::lgetxattr(path, key, &mut value[..]).unwrap();
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}
