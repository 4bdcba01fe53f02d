//! /etc/hostname, /etc/hosts and /etc/resolv.conf: files of the run, not of the image.
//!
//! They live in the initramfs and are mounted over the image's, so the image's own stay as they are.
//! The mount is on the name itself: where the image has a symbolic link, the link is covered and
//! nothing it points to is touched.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::failure::{Context, Failure};
use crate::mount::{attach, bind, folder};

/// Mounts the files into /etc of the file system at `root`.
pub(crate) fn mount(root: BorrowedFd<'_>, hostname: &[u8]) -> Result<(), Failure> {
    let etc = folder(root, "etc")?;
    for (name, contents) in [
        ("hostname", hostname_file(hostname)),
        ("hosts", hosts_file(hostname)),
        ("resolv.conf", Vec::new()),
    ] {
        let source = format!("/{name}");
        fs::write(&source, contents).context(|| format!("Write {source}"))?;
        cover(etc.as_fd(), name, &source)?;
    }
    Ok(())
}

/// Mounts the file at `source` over the entry `name` of the folder `etc`.
fn cover(etc: BorrowedFd<'_>, name: &str, source: &str) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = match rustix::fs::openat(etc, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::openat(etc, name, create, Mode::from_raw_mode(0o644)) {
                // The file cannot be shown where the root is read-only and has no place for it.
                Err(Errno::ROFS) => return Ok(()),
                created => created,
            }
        }
        found => found,
    }
    .context(|| format!("Open /etc/{name} in the image"))?;
    let status = rustix::fs::fstat(&target).context(|| format!("Look at /etc/{name}"))?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(Failure::setup(format!(
            "/etc/{name} in the image is a folder"
        )));
    }
    attach(bind(source)?.as_fd(), target.as_fd()).context(|| format!("Mount on /etc/{name}"))
}

fn hostname_file(hostname: &[u8]) -> Vec<u8> {
    [hostname, b"\n"].concat()
}

fn hosts_file(hostname: &[u8]) -> Vec<u8> {
    let mut hosts = b"127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::\tip6-localnet\n\
        ff00::\tip6-mcastprefix\n\
        ff02::1\tip6-allnodes\n\
        ff02::2\tip6-allrouters\n"
        .to_vec();
    if !hostname.is_empty() {
        hosts.extend_from_slice(&[b"127.0.1.1\t", hostname, b"\n"].concat());
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_know_the_guest() {
        let hosts = String::from_utf8(hosts_file(b"box")).unwrap();
        assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(hosts.ends_with("127.0.1.1\tbox\n"));
        assert!(
            !String::from_utf8(hosts_file(b""))
                .unwrap()
                .contains("127.0.1.1")
        );
        assert_eq!(hostname_file(b"box"), b"box\n");
    }
}
