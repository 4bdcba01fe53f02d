//! Content digests: `sha256:<64 hexadecimal digits>`.

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// The SHA-256 digest of a blob, as the OCI image specification writes it (descriptor.md, "Digests").
///
/// Other algorithms are refused when parsed: the specification registers some, but builders and
/// registries name blobs by this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidDigest(text.chars().take(100).collect());
        let (algorithm, hex) = text.split_once(':').ok_or_else(invalid)?;
        if algorithm != "sha256" {
            return Err(match is_algorithm(algorithm) {
                true => Error::DigestAlgorithm {
                    algorithm: algorithm.to_owned(),
                },
                false => invalid(),
            });
        }
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return Err(invalid());
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let nibble = |digit: u8| match digit {
                b'0'..=b'9' => Ok(digit - b'0'),
                b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(invalid()),
            };
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// Lower-case letters and digits, joined by one of `+ . _ -` (descriptor.md, "Digests").
fn is_algorithm(text: &str) -> bool {
    let component = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.len() <= 32 && text.split(['+', '.', '_', '-']).all(component)
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Computes a digest and a length from bytes as they pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hasher {
    sha256: Sha256,
    length: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Bytes seen so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.sha256.finalize().into())
    }
}

/// Hashes whatever is written.
impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn prints_what_it_parsed() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest, Digest::of(b""));
    }

    #[test]
    fn tells_an_algorithm_that_is_not_supported() {
        for (text, named) in [
            ("sha512:00", true),
            ("blake3:x", true),
            ("multihash+base58:x", true),
            ("SHA256:00", false),
            (":00", false),
            ("a--b:0", false),
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert_eq!(
                matches!(error, Error::DigestAlgorithm { .. }),
                named,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_anything_else() {
        for text in [
            "",
            "sha256:",
            "sha512:00",
            &EMPTY[7..],
            &EMPTY[..70],
            &EMPTY.to_uppercase(),
            &EMPTY.replace('e', "é"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
