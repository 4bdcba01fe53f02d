//! Operations by `io_uring`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use vmm_sys_util::eventfd::EventFd;

use super::super::scratch::PUNCH_MODE;
use super::{Action, Completion, DEPTH, Operation, descriptors};

/// A host that is out of memory refuses to take operations; it is asked so often again.
const ATTEMPTS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// A ring that can do nothing but read, write and punch holes, on the disk's own files: whoever takes
/// over this process's thread cannot get around the filter of its system calls with it.
pub(super) struct Ring {
    ring: IoUring,
    /// The operations that were taken; the kernel uses their memory until they are done.
    operations: Vec<Option<Operation>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    pub(super) fn new(base: &File, scratch: Option<&File>, event: &EventFd) -> io::Result<Self> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_r_disabled()
            .build(u32::try_from(DEPTH).map_err(io::Error::other)?)?;
        let submitter = ring.submitter();
        let files: Vec<_> = descriptors(base, scratch)
            .iter()
            .map(AsRawFd::as_raw_fd)
            .collect();
        submitter.register_files(&files)?;
        submitter.register_eventfd(event.as_raw_fd())?;
        submitter.register_restrictions(&mut [
            Restriction::sqe_op(opcode::Readv::CODE),
            Restriction::sqe_op(opcode::Writev::CODE),
            Restriction::sqe_op(opcode::Fallocate::CODE),
            Restriction::sqe_flags_required(Flags::FIXED_FILE.bits()),
        ])?;
        submitter.register_enable_rings()?;
        Ok(Self {
            ring,
            operations: (0..DEPTH).map(|_| None).collect(),
        })
    }

    pub(super) fn push(&mut self, number: usize, operation: Operation) {
        let Some(slot) = self.operations.get_mut(number) else {
            return;
        };
        let entry = entry(slot.insert(operation)).user_data(number.try_into().unwrap_or(u64::MAX));
        // SAFETY: the operation, with the vectors that the entry points to and the memory that they
        // point to, stays in its slot until the kernel is done with it. The queue has a place for
        // each number, and the caller uses none twice.
        let _ = unsafe { self.ring.submission().push(&entry) };
    }

    /// Lets the kernel take what was pushed; what it can do at once is done then.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        let mut result = Ok(0);
        for attempt in 0..ATTEMPTS {
            if self.ring.submission().is_empty() {
                return Ok(());
            }
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            result = self.ring.submit();
        }
        result.map(drop)
    }

    pub(super) fn next(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        let number = usize::try_from(entry.user_data()).ok()?;
        self.operations.get_mut(number)?.take();
        let result = usize::try_from(entry.result())
            .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        Some((number, result))
    }

    /// Gives up on a ring whose operations the kernel does not take. Returns what came of those that it
    /// took, and that the others failed.
    pub(super) fn abandon(&mut self) -> Vec<Completion> {
        let mut completions = Vec::new();
        loop {
            completions.extend(std::iter::from_fn(|| self.next()));
            let left = self.operations.iter().flatten().count();
            if left <= self.ring.submission().len() {
                break;
            }
            // As it is out of order already, there is no hurry.
            std::thread::sleep(PAUSE);
        }
        let left = self.operations.iter_mut().enumerate();
        let failed = left.filter_map(|(number, slot)| slot.take().map(|_| number));
        completions.extend(failed.map(|number| (number, Err(io::ErrorKind::Other.into()))));
        completions
    }
}

fn entry(operation: &Operation) -> Entry {
    let file = types::Fixed(operation.target.index());
    let count = |vectors: &[libc::iovec]| u32::try_from(vectors.len()).unwrap_or(u32::MAX);
    match &operation.action {
        Action::Read(buffers) => {
            opcode::Readv::new(file, buffers.vectors.as_ptr(), count(&buffers.vectors))
                .offset(operation.offset)
                .build()
        }
        Action::Write(buffers) => {
            opcode::Writev::new(file, buffers.vectors.as_ptr(), count(&buffers.vectors))
                .offset(operation.offset)
                .build()
        }
        Action::Punch(length) => opcode::Fallocate::new(file, *length)
            .offset(operation.offset)
            .mode(PUNCH_MODE)
            .build(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::super::Engine;
    use super::*;

    /// What comes of an entry that no operation asked for.
    fn result(ring: &mut IoUring, entry: &Entry) -> i32 {
        // SAFETY: what the entries of this test point to lives as long as it.
        unsafe { ring.submission().push(entry) }.unwrap();
        // The kernel may stop at an entry that it refuses.
        let _ = ring.submit_and_wait(1);
        ring.completion().next().unwrap().result()
    }

    #[test]
    fn a_ring_does_nothing_but_what_it_is_for() {
        let base = tempfile::tempfile().unwrap();
        let other = tempfile::tempfile().unwrap();
        let event = Engine::event().unwrap();
        let mut ring = Ring::new(&base, None, &event).unwrap().ring;
        let mut byte = 0_u8;
        let mut vector = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let vectors: *mut libc::iovec = &raw mut vector;
        let fixed = types::Fixed(0);
        assert_eq!(
            result(&mut ring, &opcode::Readv::new(fixed, vectors, 1).build()),
            0
        );
        let by_number = types::Fd(other.as_raw_fd());
        let path = c"/etc/passwd";
        for entry in [
            opcode::Readv::new(by_number, vectors, 1).build(),
            opcode::Writev::new(by_number, vectors, 1).build(),
            opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build(),
            opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0).build(),
            opcode::Fsync::new(fixed).build(),
            opcode::Read::new(fixed, &raw mut byte, 1).build(),
            opcode::Nop::new().build(),
        ] {
            assert_eq!(result(&mut ring, &entry), -libc::EACCES, "{entry:?}");
        }
        // Nor can it be given other files.
        let error = ring
            .submitter()
            .register_files_update(0, &[other.as_raw_fd()])
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        // The files are as open to it as they are to the process.
        let read_only = File::open("/dev/zero").unwrap();
        let mut ring = Ring::new(&read_only, None, &event).unwrap().ring;
        let write = opcode::Writev::new(fixed, vectors, 1).build();
        assert_eq!(result(&mut ring, &write), -libc::EBADF);
    }
}
