//! What QEMU needs of the host, and nothing else.
//!
//! It is a program that looks for its libraries, firmware and files by their paths, so there is no
//! empty root for it, and root stays root as far as files' permissions go.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::arguments::Invocation;
use crate::confinement::{self, Paths};

/// Where programs of the host and what they are made of lie.
const PROGRAMS: [&str; 6] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/nix/store",
    "/gnu/store",
];
/// What QEMU opens to find out how files are locked here.
const NULL: &str = "/dev/null";

/// Takes from the calling process what QEMU does not need.
pub(super) fn confine(binary: &Path, invocation: &Invocation) -> io::Result<()> {
    let mut readable: Vec<PathBuf> = PROGRAMS.map(PathBuf::from).into();
    // QEMU may have been installed elsewhere, its libraries and firmware beside it.
    let binary = binary.canonicalize()?;
    if let Some(prefix) = binary.parent().and_then(Path::parent)
        && prefix != Path::new("/")
    {
        readable.push(prefix.to_owned());
    }
    readable.push(binary);
    readable.extend(invocation.readable.iter().cloned());
    let reopened: Vec<BorrowedFd<'_>> = invocation
        .inherited
        .iter()
        .filter(|fd| invocation.reopened.contains(&fd.as_raw_fd()))
        .map(std::os::fd::AsFd::as_fd)
        .collect();
    confinement::allow_only(Paths {
        readable,
        writable: vec![invocation.temporary().to_owned(), NULL.into()],
        devices: invocation.devices.clone(),
        reopened,
    })?;
    confinement::keep_file_access()?;
    confinement::forbid_core_files()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use rustix::process::geteuid;
    use rustix::thread::{CapabilitySet, capabilities, no_new_privs};

    use super::*;
    use crate::backend::fork;
    use crate::confinement::enter_namespaces;

    #[test]
    fn a_confined_qemu_reaches_its_own_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        for name in ["disk", "log", "other"] {
            fs::write(path(name), name).unwrap();
        }
        let log = File::options().append(true).open(path("log")).unwrap();
        let log = OwnedFd::from(log);
        let reopened = format!("/proc/self/fd/{}", log.as_raw_fd());
        let invocation = Invocation {
            reopened: vec![log.as_raw_fd()],
            inherited: vec![log],
            readable: vec![path("disk")],
            ..Invocation::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let enter = || enter_namespaces(true);
        let pid = fork::spawn(enter, |_| {
            confine(Path::new("/bin/sh"), &invocation).unwrap();
            let reads = |path: &Path| File::open(path).is_ok();
            let appends = |path: &Path| File::options().append(true).open(path).is_ok();
            let sets = capabilities(None).unwrap();
            let can = [
                ("read its disk", reads(&path("disk"))),
                ("write its log", appends(Path::new(&reopened))),
                (
                    "make temporary files",
                    tempfile::tempfile_in(invocation.temporary()).is_ok(),
                ),
                (
                    "execute programs",
                    Command::new("/bin/true").status().is_ok(),
                ),
                ("write its disk", appends(&path("disk"))),
                ("read another file", reads(&path("other"))),
                ("read its log's folder", fs::read_dir(folder.path()).is_ok()),
                ("make files elsewhere", File::create(path("new")).is_ok()),
                ("read accounts", reads(Path::new("/etc/passwd"))),
                ("see processes", reads(Path::new("/proc/self/status"))),
                (
                    "connect",
                    TcpStream::connect(listener.local_addr().unwrap()).is_ok(),
                ),
                ("gain privileges", !no_new_privs().unwrap()),
                (
                    "do what root does",
                    !(sets.permitted - CapabilitySet::DAC_OVERRIDE).is_empty(),
                ),
            ];
            let can = can.iter().filter(|(_, possible)| *possible);
            let can: Vec<_> = can.map(|(what, _)| *what).collect();
            write!(theirs, "{}", can.join(", ")).unwrap();
        });
        drop(theirs);
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        fork::wait(pid.unwrap()).unwrap();
        // Programs that it executes are confined as it is; its own filter of system calls forbids even
        // that.
        let expected = "read its disk, write its log, make temporary files, execute programs";
        assert_eq!(said, expected, "as user {}", geteuid().as_raw());
    }

    #[test]
    fn a_confined_qemu_may_log_to_a_pipe() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let reopened = format!("/proc/self/fd/{}", write.as_raw_fd());
        let invocation = Invocation {
            reopened: vec![write.as_raw_fd()],
            inherited: vec![write],
            ..Invocation::default()
        };
        let enter = || enter_namespaces(true);
        let pid = fork::spawn(enter, |_| {
            confine(Path::new("/bin/sh"), &invocation).unwrap();
            let mut log = File::options().append(true).open(&reopened).unwrap();
            log.write_all(b"logged").unwrap();
        });
        drop(invocation);
        let mut said = String::new();
        File::from(read).read_to_string(&mut said).unwrap();
        fork::wait(pid.unwrap()).unwrap();
        assert_eq!(said, "logged");
    }
}
