//! Generated entries as a tar archive.

use tar::{Builder, EntryType, Header};

use crate::generate::{Content, Entry, Format, Kind, Metadata};

pub(crate) fn archive(layer: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in layer {
        append(&mut builder, entry);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, entry: &Entry) {
    let mut header = match entry.format {
        Format::Gnu => Header::new_gnu(),
        Format::Pax => Header::new_ustar(),
    };
    let mut records = Records::default();
    let mut path = entry.path.0.clone();
    let mut link = Vec::new();
    let mut data = Vec::new();
    header.set_entry_type(EntryType::Regular);
    match &entry.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            path.push(b'/');
        }
        Kind::File(content) => data = file(content, entry.format, &path, &mut records),
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            link.clone_from(&target.0);
        }
        Kind::Hardlink(target) => {
            header.set_entry_type(EntryType::Link);
            link.clone_from(&target.0);
        }
        Kind::Character(major, minor) => device(&mut header, EntryType::Char, *major, *minor),
        Kind::Block(major, minor) => device(&mut header, EntryType::Block, *major, *minor),
        Kind::Fifo => header.set_entry_type(EntryType::Fifo),
        Kind::Whiteout => {
            let base = path
                .iter()
                .rposition(|&byte| byte == b'/')
                .map_or(0, |slash| slash + 1);
            path.splice(base..base, *b".wh.");
            // A prefix can make the longest name too long for a file.
            if path.len() - base > 255 {
                return;
            }
        }
        Kind::Opaque => path.extend_from_slice(b"/.wh..wh..opq"),
    }
    header.set_size(data.len() as u64);
    set_metadata(&mut header, &entry.metadata, entry.format, &mut records);
    long(builder, entry.format, &path, b'L', "path", &mut records);
    long(builder, entry.format, &link, b'K', "linkpath", &mut records);
    records.write(builder);
    put(&mut header.as_old_mut().name, &path);
    put(&mut header.as_old_mut().linkname, &link);
    header.set_cksum();
    builder.append(&header, data.as_slice()).unwrap();
}

fn put(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(100);
    field[..length].copy_from_slice(&text[..length]);
}

fn device(header: &mut Header, kind: EntryType, major: u32, minor: u32) {
    header.set_entry_type(kind);
    header.set_device_major(major).unwrap();
    header.set_device_minor(minor).unwrap();
}

fn set_metadata(header: &mut Header, metadata: &Metadata, format: Format, records: &mut Records) {
    header.set_mode(metadata.mode);
    if format == Format::Gnu {
        header.set_uid(metadata.uid);
        header.set_gid(metadata.gid);
    } else {
        records.add("uid", metadata.uid.to_string().as_bytes());
        records.add("gid", metadata.gid.to_string().as_bytes());
    }
    if format == Format::Gnu && metadata.seconds >= 0 && metadata.nanoseconds == 0 {
        header.set_mtime(metadata.seconds.unsigned_abs());
    } else {
        records.add(
            "mtime",
            time(metadata.seconds, metadata.nanoseconds).as_bytes(),
        );
    }
    for (name, value) in &metadata.xattrs {
        records.add(&format!("SCHILY.xattr.{name}"), value);
    }
}

/// Decimal seconds: -1 with 750000000 is -0.25.
fn time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (..0, 1..) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
        (_, 0) => seconds.to_string(),
        _ => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// Names that do not fit the header.
fn long(
    builder: &mut Builder<Vec<u8>>,
    format: Format,
    text: &[u8],
    kind: u8,
    key: &str,
    records: &mut Records,
) {
    if text.len() <= 100 {
        return;
    }
    if format == Format::Pax {
        records.add(key, text);
        return;
    }
    append_long(builder, kind, text);
}

fn append_long(builder: &mut Builder<Vec<u8>>, kind: u8, text: &[u8]) {
    let mut header = Header::new_gnu();
    put(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(EntryType::new(kind));
    header.set_size(text.len() as u64 + 1);
    header.set_cksum();
    let data = [text, b"\0"].concat();
    builder.append(&header, data.as_slice()).unwrap();
}

/// A header that says something of what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Front {
    /// A PAX record of the next entry.
    Pax(&'static str, &'static str),
    /// The next entry's name, as GNU tar writes it.
    LongName(&'static str),
}

/// An archive of one empty file named `plain`, with headers in front of it.
pub(crate) fn file_behind(fronts: &[Front]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for front in fronts {
        match *front {
            Front::Pax(key, value) => builder
                .append_pax_extensions([(key, value.as_bytes())])
                .unwrap(),
            Front::LongName(name) => append_long(&mut builder, b'L', name.as_bytes()),
        }
    }
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_mtime(1);
    builder.append_data(&mut header, "plain", &[][..]).unwrap();
    builder.into_inner().unwrap()
}

/// A file's stored bytes; sparse ones in the PAX formats 0.1 and 1.0.
fn file(content: &Content, format: Format, path: &[u8], records: &mut Records) -> Vec<u8> {
    let stored: usize = content.segments.iter().map(|(_, length)| length).sum();
    let data = vec![content.fill; stored];
    if stored == content.size {
        return data;
    }
    let numbers = content
        .segments
        .iter()
        .flat_map(|(offset, length)| [offset, length])
        .chain([&content.size, &0]);
    if format == Format::Gnu {
        let map: Vec<String> = numbers.map(ToString::to_string).collect();
        records.add("GNU.sparse.size", content.size.to_string().as_bytes());
        records.add(
            "GNU.sparse.numblocks",
            (map.len() / 2).to_string().as_bytes(),
        );
        records.add("GNU.sparse.map", map.join(",").as_bytes());
        return data;
    }
    records.add("GNU.sparse.major", b"1");
    records.add("GNU.sparse.minor", b"0");
    records.add("GNU.sparse.name", path);
    records.add("GNU.sparse.realsize", content.size.to_string().as_bytes());
    let mut map = format!("{}\n", content.segments.len() + 1);
    for number in numbers {
        map.push_str(&format!("{number}\n"));
    }
    let mut bytes = map.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(&data);
    bytes
}

/// The records of one PAX header.
#[derive(Default)]
struct Records(Vec<(String, Vec<u8>)>);

impl Records {
    fn add(&mut self, key: &str, value: &[u8]) {
        self.0.push((key.to_owned(), value.to_vec()));
    }

    fn write(&self, builder: &mut Builder<Vec<u8>>) {
        if !self.0.is_empty() {
            let records = self
                .0
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()));
            builder.append_pax_extensions(records).unwrap();
        }
    }
}
