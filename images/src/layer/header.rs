//! The 512 bytes of a tar header: ustar, GNU, star and their common ancestor (POSIX.1-2017, pax).

pub(super) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

/// Whether the checksum of a header block is right, counted with bytes as unsigned or as signed.
pub(super) fn has_valid_checksum(block: &[u8]) -> bool {
    let Some(stored) = block.get(148..156).and_then(octal) else {
        return false;
    };
    let byte_at = |(index, &byte): (usize, &u8)| {
        if (148..156).contains(&index) {
            b' '
        } else {
            byte
        }
    };
    let unsigned: i64 = block.iter().enumerate().map(byte_at).map(i64::from).sum();
    let signed: i64 = block
        .iter()
        .enumerate()
        .map(byte_at)
        .map(|byte| i64::from(i8::from_ne_bytes([byte])))
        .sum();
    stored == unsigned || stored == signed
}

impl<'a> Header<'a> {
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Option<Self> {
        has_valid_checksum(block).then_some(Self(block))
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix of the ustar and star formats in front.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if !self.is_ustar() {
            &[]
        } else if &self.0[508..] == b"tar\0" {
            text(&self.0[345..476])
        } else {
            text(&self.0[345..500])
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<i64> {
        number(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Device numbers; the oldest format has none.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        if !self.is_ustar() && !self.is_gnu() {
            return Some((0, 0));
        }
        Some((number(&self.0[329..337])?, number(&self.0[337..345])?))
    }

    /// The GNU sparse map's first four pairs, whether more follow, and the file's length.
    pub(super) fn gnu_sparse(&self) -> Option<(&'a [u8], bool, i64)> {
        self.is_gnu()
            .then(|| {
                Some((
                    &self.0[386..482],
                    self.0[482] != 0,
                    number(&self.0[483..495])?,
                ))
            })
            .flatten()
    }

    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    fn is_gnu(&self) -> bool {
        &self.0[257..265] == b"ustar  \0"
    }
}

/// Bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A numeric field: octal digits, or a big-endian two's complement number marked by the highest bit.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    // The mark stands where the number's highest bit would be; the bit below it is the sign.
    let sign = if first & 0x40 == 0 { 0 } else { -1 };
    let head = i64::from(first & 0x7f) | (sign << 7);
    rest.iter().try_fold(head, |value, &byte| {
        value
            .checked_mul(256)
            .map(|shifted| shifted | i64::from(byte))
    })
}

/// Octal digits between spaces and NULs; nothing at all is 0.
fn octal(field: &[u8]) -> Option<i64> {
    let is_filler = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_filler(byte));
    let digits = start.map_or(&[][..], |start| &field[start..]);
    let digits = digits.split(is_filler).next().unwrap_or_default();
    digits.iter().try_fold(0_i64, |value, &digit| {
        matches!(digit, b'0'..=b'7').then_some(())?;
        value
            .checked_mul(8)
            .map(|shifted| shifted | i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"77777777", Some(0o77_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000648\0", None),
            (b"-000001\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn reads_binary_numbers() {
        for (field, value) in [
            (
                &[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0][..],
                Some(4_000_000_000),
            ),
            (&[0xff; 12], Some(-1)),
            (&[0xff, 0xff, 0xff, 0xfe], Some(-2)),
            (&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
