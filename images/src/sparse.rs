//! Copies of files that are mostly holes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use rustix::{fs::SeekFrom as RawSeek, io::Errno};

/// Copies `source` to the empty file `target`, holes as holes.
pub(crate) fn copy(source: &File, target: &File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let (mut reader, mut writer) = (source, target);
    let mut position = 0;
    while position < length {
        let start = match rustix::fs::seek(source, RawSeek::Data(position)) {
            Ok(start) => start,
            // No data behind this position.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(source, RawSeek::Hole(start))?;
        reader.seek(SeekFrom::Start(start))?;
        writer.seek(SeekFrom::Start(start))?;
        io::copy(&mut reader.take(end - start), &mut writer)?;
        position = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn holes_stay_holes_and_data_stays_where_it_is() {
        let mut source = tempfile::tempfile().unwrap();
        for (position, text) in [(0, "first"), (64 << 20, "middle")] {
            source.seek(SeekFrom::Start(position)).unwrap();
            source.write_all(text.as_bytes()).unwrap();
        }
        source.set_len(256 << 20).unwrap();
        let mut target = tempfile::tempfile().unwrap();
        copy(&source, &target).unwrap();
        assert_eq!(target.metadata().unwrap().len(), 256 << 20);
        assert!(target.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut text = [0; 6];
        target.seek(SeekFrom::Start(64 << 20)).unwrap();
        target.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"middle");
    }
}
