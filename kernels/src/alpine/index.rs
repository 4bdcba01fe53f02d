//! The index of a repository: `APKINDEX.tar.gz`, two gzip members. The first holds a signature of
//! the second's compressed bytes, the second the list of packages.

use base64ct::{Base64, Encoding};
use flate2::bufread::{GzDecoder, MultiGzDecoder};

use super::keys::{Algorithm, KeyRing, check};
use crate::compression::read_bounded;
use crate::package::{ControlChecksum, read_all_files, read_files};
use crate::{Arch, FormatError};

/// The list's name in the archive.
const LIST: &str = "APKINDEX";

/// The largest list accepted, in bytes: today's have a tenth of it.
const MAX_LIST: u64 = 64 << 20;

/// The longest signature accepted, in bytes: that of a key of 8192 bits.
const MAX_SIGNATURE: u64 = 1024;

/// The largest archive of signatures accepted, in bytes: it is read before anything is known of who made it.
const MAX_SIGNATURES: u64 = 1 << 20;

/// How the names of signatures begin; the key's name follows.
const SIGNATURES: [(&str, Algorithm); 3] = [
    (".SIGN.RSA.", Algorithm::Sha1),
    (".SIGN.RSA256.", Algorithm::Sha256),
    (".SIGN.RSA512.", Algorithm::Sha512),
];

/// An index whose signature is right.
#[derive(Debug)]
pub(super) struct Index {
    list: String,
    /// When the newest package in it was built, in seconds since 1970-01-01 UTC.
    pub(super) newest_build: u64,
}

/// A package as the index names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    name: String,
    version: String,
    /// In bytes.
    pub(super) size: u64,
    pub(crate) checksum: ControlChecksum,
}

impl Package {
    /// The name of its file in the repository.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

struct Signature {
    algorithm: Algorithm,
    key: String,
    bytes: Vec<u8>,
}

/// Reads an index signed with one of `keys`.
///
/// # Errors
/// If it is not signed with one of them, or is damaged.
pub(super) fn verify(index: &[u8], keys: &KeyRing) -> Result<Index, FormatError> {
    let mut signed = index;
    let signatures = read_signatures(&mut signed)?;
    let (signature, pem) = signatures
        .iter()
        .find_map(|signature| Some((signature, keys.get(&signature.key)?)))
        .ok_or_else(|| FormatError::Malformed(refusal(&signatures)))?;
    check(pem, signature.algorithm, signed, &signature.bytes)?;

    let mut list = None;
    read_files(MultiGzDecoder::new(signed), |path, _, file| {
        if path == LIST {
            list = Some(read_bounded(file, "Its list", MAX_LIST)?);
        }
        Ok(())
    })?;
    let list = list
        .and_then(|list| String::from_utf8(list).ok())
        .ok_or_else(|| FormatError::malformed("It has no list of packages"))?;
    let newest_build = packages(&list)
        .filter_map(|package| field(package, "t:")?.parse().ok())
        .max()
        .unwrap_or(0);
    Ok(Index { list, newest_build })
}

fn refusal(signatures: &[Signature]) -> String {
    match signatures.first() {
        Some(signature) => format!(
            "It is signed with {:?}, which is no key that is trusted",
            signature.key
        ),
        None => "It is not signed".to_owned(),
    }
}

/// Reads the first member; `index` is left at the second.
fn read_signatures(index: &mut &[u8]) -> Result<Vec<Signature>, FormatError> {
    let mut signatures = Vec::new();
    let member = GzDecoder::new(index);
    read_all_files(member, "Its signature", MAX_SIGNATURES, |path, _, file| {
        let kind = SIGNATURES
            .iter()
            .find_map(|(prefix, algorithm)| Some((path.strip_prefix(prefix)?, *algorithm)));
        if let Some((key, algorithm)) = kind {
            signatures.push(Signature {
                algorithm,
                key: key.to_owned(),
                bytes: read_bounded(file, "A signature", MAX_SIGNATURE)?,
            });
        }
        Ok(())
    })?;
    Ok(signatures)
}

impl Index {
    /// The package of this name, the newest if there are several.
    ///
    /// # Errors
    /// If there is none, or what the index says of it makes no sense.
    pub(super) fn find(&self, name: &str, arch: Arch) -> Result<Package, FormatError> {
        let package = packages(&self.list)
            .filter(|package| field(package, "P:") == Some(name))
            .max_by_key(|package| field(package, "t:").and_then(|time| time.parse::<u64>().ok()))
            .ok_or_else(|| FormatError::Malformed(format!("It has no package {name}")))?;
        let read = || {
            let version = field(package, "V:").filter(|version| is_version(version))?;
            let checksum = field(package, "C:")?.strip_prefix("Q1")?;
            let mut bytes = ControlChecksum::default();
            let decoded = Base64::decode(checksum, &mut bytes).ok()?.len();
            (decoded == bytes.len() && field(package, "A:")? == arch.name()).then_some(())?;
            Some(Package {
                name: name.to_owned(),
                version: version.to_owned(),
                size: field(package, "S:")?.parse().ok()?,
                checksum: bytes,
            })
        };
        read().ok_or_else(|| {
            FormatError::Malformed(format!(
                "What it says of {name} is incomplete or for another CPU"
            ))
        })
    }
}

fn packages(list: &str) -> impl Iterator<Item = &str> {
    list.split("\n\n")
}

fn field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
    package.lines().find_map(|line| line.strip_prefix(name))
}

/// Whether the text can be a version, and so part of a URL and of a file's name.
fn is_version(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte))
}
