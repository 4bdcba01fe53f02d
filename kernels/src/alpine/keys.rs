//! The keys that Alpine signs its indexes with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ring::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
};
use spki::SubjectPublicKeyInfoOwned;
use spki::der::DecodePem;
use spki::der::asn1::ObjectIdentifier;

use crate::error::io_error;
use crate::{Arch, Error, FormatError};

/// rsaEncryption (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Ends the name of a public key's file, by which signatures name it.
const ENDING: &str = ".rsa.pub";

/// The largest key file read, in bytes; the most files in a folder of keys.
const MAX_KEY: u64 = 16 << 10;
const MAX_KEYS: usize = 100;

macro_rules! key {
    ($arch:literal, $name:literal) => {
        (
            concat!("alpine-devel@lists.alpinelinux.org-", $name, ".rsa.pub"),
            include_str!(concat!(
                "../../keys/",
                $arch,
                "/alpine-devel@lists.alpinelinux.org-",
                $name,
                ".rsa.pub"
            )),
        )
    };
}

/// Alpine's published keys, each architecture's own.
const X86_64: [(&str, &str); 3] = [
    key!("x86_64", "4a6a0840"),
    key!("x86_64", "5261cecb"),
    key!("x86_64", "6165ee59"),
];
const AARCH64: [(&str, &str); 2] = [key!("aarch64", "58199dcc"), key!("aarch64", "616ae350")];

/// Public keys that are trusted, for each architecture the same or its own.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Alpine,
    Own(KeyRing),
}

/// Public keys by their names, each in PEM.
pub(super) type KeyRing = BTreeMap<String, String>;

impl Keys {
    pub(super) fn alpine() -> Self {
        Self::Alpine
    }

    /// Reads the keys in a folder.
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let mut keys = KeyRing::new();
        for entry in fs::read_dir(dir)
            .map_err(io_error("list", dir))?
            .take(MAX_KEYS)
        {
            let entry = entry.map_err(io_error("list", dir))?;
            let path = entry.path();
            if let Some(name) = entry.file_name().to_str()
                && name.ends_with(ENDING)
            {
                let file = fs::File::open(&path).map_err(io_error("open", &path))?;
                let pem = std::io::read_to_string(std::io::Read::take(file, MAX_KEY))
                    .map_err(io_error("read", &path))?;
                keys.insert(name.to_owned(), pem);
            }
        }
        if keys.is_empty() {
            return Err(Error::NoKeys(dir.to_owned()));
        }
        Ok(Self::Own(keys))
    }

    /// The keys for an architecture's packages.
    pub(super) fn of(&self, arch: Arch) -> KeyRing {
        let owned = |keys: &[(&str, &str)]| {
            keys.iter()
                .map(|(name, pem)| ((*name).to_owned(), (*pem).to_owned()))
                .collect()
        };
        match (self, arch) {
            (Self::Alpine, Arch::X86_64) => owned(&X86_64),
            (Self::Alpine, Arch::Aarch64) => owned(&AARCH64),
            (Self::Own(keys), _) => keys.clone(),
        }
    }
}

/// How a signature was made: RSA with PKCS #1 v1.5 padding, over one of these hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Sha1 => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// Checks a signature with a key in PEM.
///
/// # Errors
/// If the key is not an RSA key, or did not make the signature.
pub(super) fn check(
    pem: &str,
    algorithm: Algorithm,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), FormatError> {
    let key = SubjectPublicKeyInfoOwned::from_pem(pem)
        .ok()
        .filter(|key| key.algorithm.oid == RSA)
        .ok_or_else(|| FormatError::malformed("The key that signed it is not an RSA key"))?;
    UnparsedPublicKey::new(algorithm.parameters(), key.subject_public_key.raw_bytes())
        .verify(signed, signature)
        .map_err(|_| FormatError::malformed("Its signature is wrong: it was changed after signing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpines_keys_are_rsa_keys_of_their_published_sizes() {
        for (arch, sizes) in [
            (Arch::X86_64, &[2048, 2048, 4096][..]),
            (Arch::Aarch64, &[2048, 4096]),
        ] {
            let keys = Keys::alpine().of(arch);
            let bits: Vec<usize> = keys
                .values()
                .map(|pem| {
                    let key = SubjectPublicKeyInfoOwned::from_pem(pem).unwrap();
                    assert_eq!(key.algorithm.oid, RSA);
                    // A PKCS #1 key is little more than its modulus.
                    key.subject_public_key.raw_bytes().len() / 256 * 2048
                })
                .collect();
            assert_eq!(bits, sizes, "{arch}");
        }
    }
}
