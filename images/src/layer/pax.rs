//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"): records told apart by their
//! length, as values may hold newlines and equals signs.

use super::{Segment, Timestamp, Xattrs};

/// What an extended header says about the next entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: PaxSparse,
}

/// The `GNU.sparse.*` records, of versions 0.0, 0.1 and 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PaxSparse {
    pub(super) version: (u64, u64),
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// The map of version 0.x; version 1.0 has it in front of the content.
    pub(super) segments: Option<Vec<Segment>>,
    /// The offset of a pair of version 0.0 whose length has not come yet.
    offset: Option<u64>,
}

/// Reads the records of one extended header; later ones win.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Extensions, &'static str> {
    let mut extensions = Extensions::default();
    while !bytes.is_empty() {
        let (key, value, rest) = split_record(bytes).ok_or("a PAX record has a wrong length")?;
        bytes = rest;
        // An empty value takes back what an earlier record or the header said.
        if !value.is_empty() {
            extensions.take(key, value)?;
        }
    }
    Ok(extensions)
}

/// `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length > bytes.len() || length < space + 2 {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

impl Extensions {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.insert(name.to_vec(), value.to_vec());
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(decimal(value).ok_or("its PAX size is no number")?),
            b"uid" => self.uid = Some(id(value)?),
            b"gid" => self.gid = Some(id(value)?),
            b"mtime" => self.mtime = Some(timestamp(value).ok_or("its PAX time is no number")?),
            _ => {}
        }
        Ok(())
    }
}

impl PaxSparse {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or("a sparse record is no number");
        match key {
            b"major" => self.version.0 = number()?,
            b"minor" => self.version.1 = number()?,
            b"name" => self.name = Some(name(value)?),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"numblocks" => self.segments = Some(Vec::new()),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or("a sparse record has no offset")?;
                let length = number()?;
                self.segments
                    .get_or_insert_default()
                    .push(Segment { offset, length });
            }
            b"map" => self.segments = Some(map(value).ok_or("its sparse map is malformed")?),
            _ => {}
        }
        Ok(())
    }
}

/// `OFFSET,LENGTH,OFFSET,LENGTH…`
fn map(value: &[u8]) -> Option<Vec<Segment>> {
    let numbers: Vec<u64> = value
        .split(|&byte| byte == b',')
        .map(decimal)
        .collect::<Option<_>>()?;
    let pairs = numbers.chunks(2).map(|pair| match *pair {
        [offset, length] => Some(Segment { offset, length }),
        _ => None,
    });
    pairs.collect()
}

fn name(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if value.contains(&0) {
        return Err("its PAX name holds a NUL");
    }
    Ok(value.to_vec())
}

fn id(value: &[u8]) -> Result<u32, &'static str> {
    decimal(value)
        .and_then(|id| u32::try_from(id).ok())
        .ok_or("its owner or group is no number below 2^32")
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Decimal seconds with an optional fraction, cut to nanoseconds; negative before 1970.
fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|digit| u32::from(digit - b'0'));
    let nanoseconds = digits
        .chain(std::iter::repeat(0))
        .take(9)
        .fold(0, |value, digit| value * 10 + digit);
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp {
            seconds,
            nanoseconds,
        },
        (true, 0) => Timestamp {
            seconds: -seconds,
            nanoseconds,
        },
        (true, _) => Timestamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length.to_string().len() + body != length {
            length += 1;
        }
        [
            length.to_string().as_bytes(),
            b" ",
            key.as_bytes(),
            b"=",
            value,
            b"\n",
        ]
        .concat()
    }

    #[test]
    fn a_newline_in_a_value_ends_nothing() {
        let value = b"\x01\n20 linkpath=/etc/x\n";
        let bytes = [
            record("SCHILY.xattr.security.capability", value),
            record("path", "ä/b=c\nd".as_bytes()),
        ];
        let extensions = parse(&bytes.concat()).unwrap();
        assert_eq!(extensions.xattrs[&b"security.capability"[..]], value);
        assert_eq!(extensions.path.unwrap(), "ä/b=c\nd".as_bytes());
        assert_eq!(extensions.link, None);
    }

    #[test]
    fn reads_times_of_any_year() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("1.5", 1, 500_000_000),
            ("1.1234567899", 1, 123_456_789),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
            ("-1.5", -2, 500_000_000),
        ] {
            let expected = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(timestamp(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["", "-", "1.x", "x", "99999999999999999999"] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn refuses_wrong_lengths() {
        for bytes in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"-6 a=b\n",
            b"6 a=bc",
            b"4 a\n",
            b"0 ",
            b"1",
            b"6 abc\n",
        ] {
            assert!(parse(bytes).is_err(), "{:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn reads_every_sparse_map() {
        let segments = vec![
            Segment {
                offset: 0,
                length: 5,
            },
            Segment {
                offset: 4096,
                length: 1,
            },
        ];
        let old = [
            record("GNU.sparse.numblocks", b"2"),
            record("GNU.sparse.offset", b"0"),
            record("GNU.sparse.numbytes", b"5"),
            record("GNU.sparse.offset", b"4096"),
            record("GNU.sparse.numbytes", b"1"),
        ]
        .concat();
        let new = record("GNU.sparse.map", b"0,5,4096,1");
        for bytes in [old, new] {
            let sparse = parse(&bytes).unwrap().sparse;
            assert_eq!(sparse.segments.as_ref(), Some(&segments));
        }
        for bytes in [
            record("GNU.sparse.map", b"0,5,4096"),
            record("GNU.sparse.map", b"0,x"),
            record("GNU.sparse.numbytes", b"1"),
        ] {
            assert!(parse(&bytes).is_err());
        }
    }
}
