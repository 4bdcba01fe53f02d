//! Making a machine's process: a fork of this one.
//!
//! Two forks, in fact. The first child enters new namespaces, which a process of several threads may
//! not, and makes the second one beside itself: that is the first of its process namespace, and a
//! child of the caller, who alone may wait for it. It runs on with a copy of the caller's memory, so
//! that nothing has to be loaded or handed over, and never returns to the caller's code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Runs `run` in a process of its own, which ends with it, and in the namespaces that `enter` enters;
/// it gets what that returns. The process has all of the caller's descriptors, but no other thread of
/// it.
///
/// # Errors
/// If the host allows no more processes.
pub(crate) fn spawn<T>(enter: impl FnOnce() -> T, run: impl FnOnce(T)) -> io::Result<Pid> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child calls nothing of the caller's. It allocates memory, which the C library's
    // fork allows to the child of a process with threads as well.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(read);
            let ended = catch_unwind(AssertUnwindSafe(|| spawn_sibling(write, enter, run)));
            exit(ended.is_err().into());
        }
        first => {
            drop(write);
            let mut number = [0; 4];
            let read = File::from(read).read_exact(&mut number);
            if let Some(first) = Pid::from_raw(first) {
                wait(first)?;
            }
            read.map_err(|_| io::Error::other("the process that should make it ended"))?;
            let number = i32::from_ne_bytes(number);
            Pid::from_raw(number)
                .ok_or_else(|| io::Error::from_raw_os_error(number.saturating_neg()))
        }
    }
}

/// In the first child: makes the second, and tells its number, or the error's as a negative one.
fn spawn_sibling<T>(write: OwnedFd, enter: impl FnOnce() -> T, run: impl FnOnce(T)) {
    let entered = enter();
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: without a stack and shared memory this is a fork, of a process of one thread.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, 0_u64, 0_u64) } {
        0 => {
            drop(write);
            run(entered);
        }
        number => {
            let number = match i32::try_from(number) {
                Ok(number) if number > 0 => number,
                _ => -io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or(libc::EAGAIN),
            };
            // Without a reader there is nobody to tell.
            let _ = File::from(write).write_all(&number.to_ne_bytes());
        }
    }
}

/// Ends this process without anything that the caller's code would do at its own end.
fn exit(code: libc::c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Waits for a child's end. `None` if somebody else has, or nobody ever needs to.
pub(crate) fn wait(child: Pid) -> io::Result<Option<WaitStatus>> {
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(status) => return Ok(status.map(|(_, status)| status)),
            Err(Errno::INTR) => {}
            // SIGCHLD is ignored here.
            Err(Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills a child that has not been waited for. Does not wait for its end, if that is somebody's task once
/// this process has ended: the kernel takes a while to free what a machine had.
pub(crate) fn abandon(child: Pid) {
    // Its number is its own until it has been waited for.
    let _ = kill_process(child, Signal::KILL);
    if !heir_waits() {
        let _ = wait(child);
    }
}

/// Whether the process that inherits all others, or one that took over that task from it, waits for their
/// ends. The first program of a container often does not: it would have an entry in its table of
/// processes for each machine, for ever.
fn heir_waits() -> bool {
    // It is a third of this, and comes in one piece.
    let mut status = [0; 4096];
    let length = File::open("/proc/1/status").and_then(|mut file| file.read(&mut status));
    length.is_ok_and(|length| minds_children(&String::from_utf8_lossy(&status[..length])))
}

/// Whether a process is told when a child of its ends, or wants no word of it, by its `status` file
/// (proc(5)). A program that just leaves the signal as it is does not know of children that others
/// started.
fn minds_children(status: &str) -> bool {
    const CHLD: u64 = 1 << (libc::SIGCHLD - 1);
    status.lines().any(|line| {
        let set = ["SigBlk:", "SigIgn:", "SigCgt:"]
            .iter()
            .find_map(|name| line.strip_prefix(name));
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
            .is_some_and(|set| set & CHLD != 0)
    })
}

/// How the process `who` ended, for people.
pub(crate) fn describe_end(who: &str, status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("{who} ended with code {code}"),
        (None, Some(signal)) => format!("{who} was killed by signal {signal}"),
        (None, None) => format!("{who} ended"),
    }
}

/// Closes all descriptors but the standard streams and those to `keep`.
pub(crate) fn close_others(mut keep: Vec<RawFd>) -> io::Result<()> {
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, RawFd::MAX)
}

/// Puts nothing in the place of the standard streams.
pub(crate) fn close_standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: nothing of this process uses them: they are the caller's.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Does what takes a lock of the allocator or of the environment.
    fn take_locks() {
        let much = vec![1_u8; 1 << 20];
        let little: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        let path = std::env::var_os("PATH");
        assert!(much.len() + little.len() > path.iter().len());
    }

    #[test]
    fn what_other_threads_hold_holds_up_no_child() {
        let stop = AtomicBool::new(false);
        let limit = Timespec::try_from(Duration::from_secs(20)).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        // Threads of the standard library have locks of their own.
                        assert!(thread::spawn(take_locks).join().is_ok());
                    }
                });
            }
            let mut stuck = 0;
            for _ in 0..50 {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                let child = spawn(
                    || (),
                    |()| {
                        let work = crate::thread::spawn("works", take_locks);
                        assert_eq!(work.unwrap().join(), Some(()));
                        rustix::io::write(&write, b".").unwrap();
                    },
                );
                let mut fds = [PollFd::new(&read, PollFlags::IN)];
                stuck += usize::from(poll(&mut fds, Some(&limit)) != Ok(1));
                abandon(child.unwrap());
                if stuck > 0 {
                    break;
                }
                assert_eq!(File::from(read).read(&mut [0]).unwrap(), 1);
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(stuck, 0);
        });
    }

    #[test]
    fn who_minds_children_has_set_up_their_signal() {
        let status = |line: &str| format!("Name:\tinit\nSigPnd:\t0000000000010000\n{line}\n");
        // Of sleep(1), then of systemd, a shell, and a program that ignores the signal.
        assert!(!minds_children(&status("SigCgt:\t0000000000000000")));
        assert!(minds_children(&status("SigBlk:\t7be3c0fe28014a03")));
        assert!(minds_children(&status("SigCgt:\t0000000000010002")));
        assert!(minds_children(&status("SigIgn:\t0000000000010000")));
        assert!(!minds_children(&status("SigCgt:\tnone")));
    }

    #[test]
    fn an_abandoned_child_runs_no_more() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let child = spawn(|| (), |()| std::thread::sleep(Duration::from_secs(600))).unwrap();
        drop(write);
        abandon(child);
        // It had the other end of the pipe, and nobody else has.
        assert_eq!(File::from(read).read(&mut [0]).unwrap(), 0);
        // Whoever was not waited for is waited for here, as by the one who would inherit it.
        let end = wait(child).unwrap();
        assert!(end.is_none_or(|end| end.terminating_signal() == Some(libc::SIGKILL)));
    }
}
