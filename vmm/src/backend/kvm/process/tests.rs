//! What a machine's process can still do once it is confined, before its threads have their filters of
//! system calls as well: each wall has to hold alone.

use std::env::consts::ARCH;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;
use std::ptr;

use rustix::fs::{Gid, Uid};
use rustix::process::{
    DumpableBehavior, Pid, Resource, chdir, chroot, dumpable_behavior, getegid, geteuid, getpid,
    getrlimit, test_kill_process,
};
use rustix::thread::{
    capabilities, no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::child::{Limits, confine};
use crate::backend::fork;
use crate::confinement::{Namespaces, enter_namespaces};
use crate::signals;

/// The size of the largest file that the confined process may write.
const FILE_SIZE: u64 = 1 << 20;

/// What the confined process tries to reach.
struct Host {
    tcp: TcpListener,
    open: File,
    abstract_name: SocketAddr,
    _abstract: UnixListener,
    socket_path: std::path::PathBuf,
    _socket: UnixListener,
    _folder: tempfile::TempDir,
    process: Pid,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket_path = folder.path().join("socket");
        let name = format!("terrarium-test-{}", folder.path().display());
        let abstract_name = SocketAddr::from_abstract_name(name).unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            open: tempfile::tempfile().unwrap(),
            _abstract: UnixListener::bind_addr(&abstract_name).unwrap(),
            abstract_name,
            _socket: UnixListener::bind(&socket_path).unwrap(),
            socket_path,
            _folder: folder,
            process: getpid(),
        }
    }

    /// What the calling process can reach of it.
    fn within_reach(&self) -> Vec<&'static str> {
        let files = [
            "/etc/passwd",
            "/proc/self/status",
            "/proc/1/environ",
            "/dev/null",
        ];
        let attempts = [
            ("a file", files.iter().any(|path| File::open(path).is_ok())),
            (
                "a new file",
                File::create("/new").is_ok() || File::create("/tmp/new").is_ok(),
            ),
            ("a program", Command::new("/bin/true").status().is_ok()),
            (
                "a TCP port",
                TcpStream::connect(self.tcp.local_addr().unwrap()).is_ok(),
            ),
            (
                "an abstract socket",
                UnixStream::connect_addr(&self.abstract_name).is_ok(),
            ),
            (
                "a named socket",
                UnixStream::connect(&self.socket_path).is_ok(),
            ),
            ("another process", test_kill_process(self.process).is_ok()),
            (
                "root's identity",
                set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok(),
            ),
            ("a privilege", {
                let sets = capabilities(None).unwrap();
                !(sets.effective | sets.permitted | sets.inheritable).is_empty()
            }),
            ("new privileges", !no_new_privs().unwrap()),
            (
                "a core dump",
                dumpable_behavior().unwrap() != DumpableBehavior::NotDumpable
                    || getrlimit(Resource::Core).maximum != Some(0),
            ),
            ("a thousand descriptors", {
                let many: Result<Vec<_>, _> = (0..1000).map(|_| self.tcp.try_clone()).collect();
                many.is_ok()
            }),
            ("four gigabytes of addresses", can_map(4 << 30)),
            ("a large file", self.open.set_len(FILE_SIZE + 1).is_ok()),
        ];
        attempts
            .into_iter()
            .filter(|(_, possible)| *possible)
            .map(|(what, _)| what)
            .collect()
    }
}

/// Whether the calling process can have so many more bytes of addresses. They are of no use, so that a host
/// with less memory does not refuse them.
fn can_map(size: usize) -> bool {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where the kernel likes takes nothing from anybody.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, kind, -1, 0) };
    // SAFETY: nobody knows of that mapping.
    start != libc::MAP_FAILED && unsafe { libc::munmap(start, size) } == 0
}

/// Makes the calling thread an ordinary user's.
fn be_ordinary() {
    let (user, group) = (Uid::from_raw(65533), Gid::from_raw(65533));
    set_thread_groups(&[]).unwrap();
    set_thread_res_gid(group, group, group).unwrap();
    set_thread_res_uid(user, user, user).unwrap();
}

/// What a process in these namespaces says that it can reach, confined and not.
fn within_reach(enter: impl FnOnce() -> Namespaces, confined: bool) -> String {
    let host = Host::new();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let pid = fork::spawn(enter, |namespaces| {
        let keep = [
            theirs.as_raw_fd(),
            host.tcp.as_raw_fd(),
            host.open.as_raw_fd(),
        ];
        fork::close_others(keep.to_vec()).unwrap();
        if confined {
            // What is told by a signal else.
            signals::block_all().unwrap();
            let limits = Limits {
                descriptors: 64,
                file_size: Some(FILE_SIZE),
            };
            confine(namespaces, &limits).unwrap();
            assert!(host.open.set_len(FILE_SIZE).is_ok());
            let root = fs::read_dir("/").map_or(0, Iterator::count);
            let (user, group) = (geteuid().as_raw(), getegid().as_raw());
            write!(theirs, "{namespaces:?}, {root} in /, {user}:{group}: ").unwrap();
        }
        write!(theirs, "{}", host.within_reach().join(", ")).unwrap();
    });
    drop(theirs);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    fork::wait(pid.unwrap()).unwrap();
    said
}

#[test]
fn a_confined_process_reaches_nothing_of_the_host() {
    let nothing = "Own, 0 in /, 65534:65534: ";
    assert_eq!(within_reach(|| enter_namespaces(true), true), nothing);
    if geteuid().is_root() {
        let enter = || {
            be_ordinary();
            enter_namespaces(true)
        };
        assert_eq!(within_reach(enter, true), nothing);
    }
}

#[test]
fn without_namespaces_paths_are_denied() {
    let said = within_reach(|| Namespaces::Shared, true);
    let (landlock, root) = (landlock_version(), geteuid().is_root());
    let (user, group) = if root {
        (65534, 65534)
    } else {
        (geteuid().as_raw(), getegid().as_raw())
    };
    let left = [
        ("a TCP port", landlock < 4),
        ("an abstract socket", landlock < 6),
        // Landlock knows no named sockets; whose they are decides, and the filters of system calls.
        ("a named socket", !root),
        ("another process", !root && landlock < 6),
    ];
    let left = left.iter().filter(|(_, left)| *left);
    let left = left.map(|(what, _)| *what).collect::<Vec<_>>().join(", ");
    assert_eq!(said, format!("Shared, 0 in /, {user}:{group}: {left}"));
}

/// The version of this kernel's Landlock: 4 knows TCP, 6 abstract sockets and signals.
fn landlock_version() -> libc::c_long {
    const VERSION: u32 = 1;
    // SAFETY: this asks for a number, and gives no memory.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) }
}

#[test]
fn in_a_chroot_paths_are_denied() {
    if !geteuid().is_root() {
        // Only root can be there with namespaces of its own.
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for folder in ["dev", "etc", "proc", "tmp"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("etc/passwd"), "").unwrap();
    let enter = || {
        chroot(root.path()).unwrap();
        chdir("/").unwrap();
        enter_namespaces(true)
    };
    let said = within_reach(enter, false);
    assert!(said.contains("a file, a new file"), "{said}");
    // Without /proc, nobody knows how much memory it had.
    let expected = "Own, 0 in /, 65534:65534: four gigabytes of addresses";
    assert_eq!(within_reach(enter, true), expected);
}

#[test]
fn where_mounts_are_refused_paths_are_denied() {
    if !geteuid().is_root() {
        // An ordinary user's own sockets are then within reach of all but the filters of system calls.
        return;
    }
    // As the security modules of some hosts refuse them, with namespaces or not.
    let enter = || {
        let namespaces = enter_namespaces(true);
        let filter: BpfProgram = SeccompFilter::new(
            [(libc::SYS_mount, Vec::new())].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EACCES.unsigned_abs()),
            ARCH.try_into().unwrap(),
        )
        .unwrap()
        .try_into()
        .unwrap();
        apply_filter(&filter).unwrap();
        namespaces
    };
    let said = within_reach(enter, true);
    assert_eq!(said, "Own, 0 in /, 65534:65534: ");
}

#[test]
fn without_confinement_all_of_that_is_within_reach() {
    let said = within_reach(|| Namespaces::Shared, false);
    for what in [
        "a file",
        "a new file",
        "a program",
        "a TCP port",
        "an abstract socket",
        "a named socket",
        "another process",
        "new privileges",
        "a core dump",
        "a thousand descriptors",
        "four gigabytes of addresses",
        "a large file",
    ] {
        assert!(said.contains(what), "no {what} in {said}");
    }
}
