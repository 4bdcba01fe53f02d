//! Where a command writes a large file to: a new file, which is whole or not there at all, or whatever
//! else a path can name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::output::ReaderGone;

/// What a file that is not yet whole is called, where it must have a name at all.
const PREFIX: &str = ".terrarium-";

/// What is written to.
pub enum Sink<'a> {
    /// A regular file without content: holes may be left.
    File(&'a File),
    /// A pipe, a terminal, a device: one byte after the other.
    Stream(&'a mut dyn Write),
}

/// Lets `write` write to `path`, or to standard output if that is `-`.
///
/// A file comes into being whole or not at all, and takes the place of a regular file at once; of a
/// symbolic link it is the target that is replaced. Devices and pipes are written to, as cp(1) does:
/// never replaced.
pub fn write(path: &Path, write: impl FnOnce(Sink<'_>) -> Result<()>) -> Result<()> {
    if path == Path::new("-") {
        return standard(write);
    }
    let cannot = || format!("Cannot write {}", path.display());
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => bail!("{} is a folder: name a file", path.display()),
        Ok(there) if there.is_file() => {
            let target = fs::canonicalize(path).with_context(cannot)?;
            replace(&target, Some(there.mode()), write).with_context(cannot)
        }
        Ok(there) => {
            let file = OpenOptions::new()
                .write(true)
                .open(path)
                .with_context(cannot)?;
            let mut buffer = BufWriter::new(&file);
            write(Sink::Stream(&mut buffer)).with_context(cannot)?;
            buffer.flush().with_context(cannot)?;
            drop(buffer);
            if there.file_type().is_block_device() {
                file.sync_all().with_context(cannot)?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                bail!("{} is a symbolic link to nothing", path.display());
            }
            replace(path, None, write).with_context(cannot)
        }
        Err(error) => Err(error).with_context(cannot),
    }
}

fn standard(write: impl FnOnce(Sink<'_>) -> Result<()>) -> Result<()> {
    if io::stdout().is_terminal() {
        bail!("What is written is nothing for a terminal: redirect it, or use -o FILE");
    }
    let mut output = BufWriter::new(io::stdout().lock());
    let written = write(Sink::Stream(&mut output)).and_then(|()| Ok(output.flush()?));
    written.map_err(|error| {
        if is_broken_pipe(&error) {
            ReaderGone.into()
        } else {
            error.context("Cannot write standard output")
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn replace(
    target: &Path,
    mode: Option<u32>,
    write: impl FnOnce(Sink<'_>) -> Result<()>,
) -> Result<()> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let new = New::create(folder)?;
    write(Sink::File(&new.file))?;
    if let Some(mode) = mode {
        new.file
            .set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
    }
    new.publish(target)?;
    Ok(())
}

/// A file without a name, or with one that nobody can foresee.
struct New<'a> {
    folder: &'a Path,
    file: File,
    name: Option<TempPath>,
}

impl<'a> New<'a> {
    /// Makes a file in `folder` that is gone when this process ends, however it ends. Where the file
    /// system has no files without names, it stays if the process is killed.
    fn create(folder: &'a Path) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o666);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, mode) {
            Ok(file) => Ok(Self {
                folder,
                file: file.into(),
                name: None,
            }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => Self::named(folder),
            Err(error) => Err(error.into()),
        }
    }

    fn named(folder: &'a Path) -> io::Result<Self> {
        let (file, name) = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?
            .into_parts();
        Ok(Self {
            folder,
            file,
            name: Some(name),
        })
    }

    /// Makes it the file `target`, at once.
    fn publish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        let name = match self.name {
            Some(name) => name,
            None => {
                // A link cannot take the place of a file: a rename can.
                let file = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
                let link = |name: &Path| {
                    rustix::fs::linkat(CWD, &file, CWD, name, AtFlags::SYMLINK_FOLLOW)
                        .map_err(io::Error::from)
                };
                tempfile::Builder::new()
                    .prefix(PREFIX)
                    .make_in(self.folder, link)?
                    .into_temp_path()
            }
        };
        name.persist(target).map_err(|error| error.error)?;
        File::open(self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::thread;

    use super::*;

    fn text(sink: Sink<'_>, text: &str) -> Result<()> {
        match sink {
            Sink::File(mut file) => file.write_all(text.as_bytes())?,
            Sink::Stream(stream) => stream.write_all(text.as_bytes())?,
        }
        Ok(())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, |sink| text(sink, "first")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let failed = write(&path, |sink| {
            text(sink, "half")?;
            assert_eq!(names(folder.path()), ["file"]);
            bail!("it broke")
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("it broke"));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        write(&path, |sink| text(sink, "second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn what_stands_beside_a_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        // What somebody who foresees a name would put there.
        for name in ["file.partial", ".terrarium-"] {
            symlink(&outside, folder.path().join(name)).unwrap();
        }
        write(&folder.path().join("file"), |sink| text(sink, "x")).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"mine");
        let expected = [".terrarium-", "file", "file.partial", "outside"];
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn a_named_temporary_does_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "old").unwrap();
        let new = New::named(folder.path()).unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        (&new.file).write_all(b"new").unwrap();
        new.publish(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        drop(New::named(folder.path()).unwrap());
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn links_stay_and_lead_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link, dangling] =
            ["target", "link", "dangling"].map(|n| folder.path().join(n));
        fs::write(&target, "old").unwrap();
        symlink("target", &link).unwrap();
        symlink("nothing", &dangling).unwrap();
        write(&link, |sink| text(sink, "new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(write(&dangling, |sink| text(sink, "x")).is_err());
        assert!(write(folder.path(), |sink| text(sink, "x")).is_err());
        assert_eq!(names(folder.path()), ["dangling", "link", "target"]);
    }

    #[test]
    fn pipes_and_devices_are_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let mut read = String::new();
        thread::scope(|scope| {
            scope.spawn(|| write(&fifo, |sink| text(sink, "through")).unwrap());
            File::open(&fifo)
                .unwrap()
                .read_to_string(&mut read)
                .unwrap();
        });
        assert_eq!(read, "through");
        write(Path::new("/dev/null"), |sink| text(sink, "gone")).unwrap();
        let null = fs::metadata("/dev/null").unwrap();
        assert!(null.file_type().is_char_device());
        // A full device tells.
        let full = write(Path::new("/dev/full"), |sink| text(sink, "x")).unwrap_err();
        assert!(format!("{full:#}").contains("No space left"), "{full:#}");
    }
}
