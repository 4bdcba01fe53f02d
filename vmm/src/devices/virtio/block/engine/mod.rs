//! Reading and writing files while the devices' thread does something else: by `io_uring` where the
//! host allows it, otherwise by threads that wait in its place.

mod pool;
mod ring;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use vm_memory::GuestMemoryBackend;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::super::{Confine, Segment};
use crate::memory::GuestRam;
use pool::Pool;
use ring::Ring;

/// Operations that are under way at once.
pub(super) const DEPTH: usize = 256;

/// Which of a disk's two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Base,
    Scratch,
}

/// What is done to a file.
#[derive(Debug)]
pub(super) enum Action {
    Read(Buffers),
    Write(Buffers),
    /// Makes so many bytes a hole.
    Punch(u64),
}

/// One operation on one file.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) target: Target,
    pub(super) action: Action,
    pub(super) offset: u64,
}

/// Guest memory that a file is read into or written from. It stays mapped as long as this lives.
pub(super) struct Buffers {
    vectors: Vec<libc::iovec>,
    _memory: GuestRam,
}

// SAFETY: the pointers are into guest memory, which is held, and which any thread may access as the
// volatile memory that it is.
unsafe impl Send for Buffers {}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers")
            .field("pieces", &self.vectors.len())
            .finish_non_exhaustive()
    }
}

impl Buffers {
    /// These segments, at most 1,024 of them (`IOV_MAX`), which is more than a request has.
    pub(super) fn new(memory: &GuestRam, segments: &[Segment]) -> io::Result<Self> {
        let vectors = segments
            .iter()
            .map(|segment| {
                let slice = memory
                    .get_slice(segment.address, segment.length)
                    .map_err(io::Error::other)?;
                Ok(libc::iovec {
                    iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                    iov_len: slice.len(),
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            vectors,
            _memory: memory.clone(),
        })
    }
}

/// What came of an operation: the bytes it moved, where it moves any.
pub(super) type Completion = (usize, io::Result<usize>);

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `io_uring` if it can be had.
    Any,
    /// Threads.
    #[cfg(any(test, feature = "fuzzing"))]
    Threads,
}

/// Carries out operations. Dropped, it first waits for those under way.
#[derive(Debug)]
pub(super) struct Engine {
    work: Work,
    /// The files, for reads that need not wait; none for a file that knows no such.
    files: Vec<Option<File>>,
    event: Arc<EventFd>,
    under_way: usize,
}

#[derive(Debug)]
enum Work {
    Ring(Box<Ring>),
    Pool(Pool),
    /// The host refused to take operations: each fails.
    Broken(Vec<Completion>),
}

impl Engine {
    /// An engine for these files that writes to `event` when something has been done. Threads of its
    /// own are made here, and confine themselves before they begin.
    pub(super) fn new(
        kind: Kind,
        base: &File,
        scratch: Option<&File>,
        event: Arc<EventFd>,
        confine: &Arc<Confine>,
    ) -> io::Result<Self> {
        let ring = match kind {
            Kind::Any => Ring::new(base, scratch, &event).ok(),
            #[cfg(any(test, feature = "fuzzing"))]
            Kind::Threads => None,
        };
        let work = match ring {
            Some(ring) => Work::Ring(Box::new(ring)),
            None => Work::Pool(Pool::new(base, scratch, &event, confine)?),
        };
        let files = descriptors(base, scratch)
            .iter()
            .map(|file| Ok(Some(File::from(file.try_clone_to_owned()?))))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            work,
            files,
            event,
            under_way: 0,
        })
    }

    /// Reads what the host has in its memory, which takes a part of what an operation does; `None` if all of it has
    /// to be waited for. It may be less than was asked for.
    pub(super) fn read_now(&mut self, operation: &Operation) -> Option<usize> {
        let Action::Read(buffers) = &operation.action else {
            return None;
        };
        let index = usize::try_from(operation.target.index()).ok()?;
        let kept = self.files.get_mut(index)?;
        let file = kept.as_ref()?;
        let offset = i64::try_from(operation.offset).ok()?;
        let count = i32::try_from(buffers.vectors.len()).ok()?;
        let (vectors, now) = (buffers.vectors.as_ptr(), libc::RWF_NOWAIT);
        // SAFETY: the vectors describe guest memory that is mapped as long as `buffers` lives. The guest
        // may change it meanwhile, which the kernel does not care about.
        let read = unsafe { libc::preadv2(file.as_raw_fd(), vectors, count, offset, now) };
        if read < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP) {
            *kept = None;
        }
        usize::try_from(read).ok().filter(|&read| read > 0)
    }

    /// Threads of its own.
    pub(super) fn threads(&self) -> usize {
        match &self.work {
            Work::Ring(_) | Work::Broken(_) => 0,
            Work::Pool(pool) => pool.threads(),
        }
    }

    pub(super) fn event() -> io::Result<Arc<EventFd>> {
        EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new)
    }

    /// Takes an operation under a number below [`DEPTH`] that no other one under way has. It may wait
    /// for [`submit`](Self::submit).
    pub(super) fn push(&mut self, number: usize, operation: Operation) {
        self.under_way += 1;
        match &mut self.work {
            Work::Ring(ring) => ring.push(number, operation),
            Work::Pool(pool) => pool.push(number, operation),
            Work::Broken(done) => done.push((number, Err(io::ErrorKind::Other.into()))),
        }
    }

    /// Lets the host begin with what was taken.
    pub(super) fn submit(&mut self) {
        if let Work::Ring(ring) = &mut self.work
            && ring.submit().is_err()
        {
            self.work = Work::Broken(ring.abandon());
        }
    }

    /// The next operation that is done.
    pub(super) fn next(&mut self) -> Option<Completion> {
        let completion = match &mut self.work {
            Work::Ring(ring) => ring.next(),
            Work::Pool(pool) => pool.next(),
            Work::Broken(done) => done.pop(),
        }?;
        self.under_way -= 1;
        Some(completion)
    }

    /// Takes back the announcement of something done.
    pub(super) fn acknowledge(&self) {
        // It fails only if there is none.
        let _ = self.event.read();
    }

    /// Waits until nothing is under way, and gives what is done to `finish`.
    pub(super) fn drain(&mut self, mut finish: impl FnMut(Completion)) {
        self.submit();
        loop {
            while let Some(completion) = self.next() {
                finish(completion);
            }
            if self.under_way == 0 {
                return;
            }
            // SAFETY: the descriptor is open as long as `self`.
            let event = unsafe { BorrowedFd::borrow_raw(self.event.as_raw_fd()) };
            // Interrupted, it looks once more than it had to.
            let _ = poll(&mut [PollFd::from_borrowed_fd(event, PollFlags::IN)], None);
            self.acknowledge();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.drain(|_| {});
    }
}

/// The descriptors of the files, in the order of their targets.
fn descriptors<'a>(base: &'a File, scratch: Option<&'a File>) -> Vec<BorrowedFd<'a>> {
    let scratch = scratch.map(AsFd::as_fd);
    [Some(base.as_fd()), scratch]
        .into_iter()
        .flatten()
        .collect()
}

impl Target {
    fn index(self) -> u32 {
        match self {
            Self::Base => 0,
            Self::Scratch => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::thread;

    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::backend::kvm::sandbox::Sandbox;

    fn engines(base: &File, scratch: &File) -> [Engine; 2] {
        confined_engines(base, scratch, &(Arc::new(|| Ok(())) as _))
    }

    fn confined_engines(base: &File, scratch: &File, confine: &Arc<Confine>) -> [Engine; 2] {
        let ring = Ring::new(base, Some(scratch), &Engine::event().unwrap());
        assert!(ring.is_ok(), "no io_uring here: {ring:?}");
        [Kind::Any, Kind::Threads].map(|kind| {
            let event = Engine::event().unwrap();
            Engine::new(kind, base, Some(scratch), event, confine).unwrap()
        })
    }

    fn all(engine: &mut Engine) -> Vec<(usize, Result<usize, Option<i32>>)> {
        let mut done = Vec::new();
        engine.drain(|(number, result)| {
            done.push((number, result.map_err(|error| error.raw_os_error())));
        });
        done.sort_by_key(|&(number, _)| number);
        done
    }

    #[test]
    fn both_kinds_do_what_is_asked() {
        let mut base = tempfile::tempfile().unwrap();
        base.write_all(&[7; 5000]).unwrap();
        let scratch = tempfile::tempfile().unwrap();
        scratch.set_len(1 << 20).unwrap();
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
        let buffers = |pieces: &[(u64, usize)]| {
            let segments: Vec<_> = pieces
                .iter()
                .map(|&(address, length)| Segment {
                    address: GuestAddress(address),
                    length,
                })
                .collect();
            Buffers::new(&memory, &segments).unwrap()
        };
        for mut engine in engines(&base, &scratch) {
            let operation = |target, action, offset| Operation {
                target,
                action,
                offset,
            };
            memory.write_slice(&[0; 1 << 16], GuestAddress(0)).unwrap();
            memory
                .write_slice(&[9; 4096], GuestAddress(0x8000))
                .unwrap();
            let write = Action::Write(buffers(&[(0x8000, 4096), (0x8000, 4096)]));
            engine.push(3, operation(Target::Scratch, write, 4096));
            let read = Action::Read(buffers(&[(0, 100), (0x1000, 200)]));
            engine.push(200, operation(Target::Base, read, 4000));
            // Over the end, behind it, and into a file that is read-only here.
            let short = Action::Read(buffers(&[(0x2000, 4096)]));
            engine.push(201, operation(Target::Base, short, 4096));
            let behind = Action::Read(buffers(&[(0x3000, 16)]));
            engine.push(202, operation(Target::Base, behind, 1 << 40));
            let done = all(&mut engine);
            let expected = [(3, Ok(8192)), (200, Ok(300)), (201, Ok(904)), (202, Ok(0))];
            assert_eq!(done, expected);
            let mut bytes = [0; 200];
            memory.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
            assert_eq!(bytes, [7; 200]);
            let mut bytes = [0; 8193];
            scratch.read_exact_at(&mut bytes, 4096).unwrap();
            assert_eq!((bytes[0], bytes[8191], bytes[8192]), (9, 9, 0));

            engine.push(0, operation(Target::Scratch, Action::Punch(4096), 4096));
            assert_eq!(all(&mut engine), [(0, Ok(0))]);
            scratch.read_exact_at(&mut bytes, 4096).unwrap();
            assert_eq!((bytes[0], bytes[4095], bytes[4096]), (0, 0, 9));
        }
    }

    #[test]
    fn what_the_host_has_is_read_at_once() {
        let base = tempfile::tempfile().unwrap();
        base.write_all_at(&[7; 5000], 0).unwrap();
        let scratch = tempfile::tempfile().unwrap();
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
        let segment = Segment {
            address: GuestAddress(0),
            length: 300,
        };
        for mut engine in engines(&base, &scratch) {
            memory.write_slice(&[0; 301], GuestAddress(0)).unwrap();
            let mut read = |target, offset| {
                let action = Action::Read(Buffers::new(&memory, &[segment]).unwrap());
                engine.read_now(&Operation {
                    target,
                    action,
                    offset,
                })
            };
            // Not all file systems can.
            if let Some(length) = read(Target::Base, 4096) {
                assert_eq!(length, 300);
                let mut bytes = [0; 301];
                memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
                assert_eq!((bytes[0], bytes[299], bytes[300]), (7, 7, 0));
                assert_eq!(read(Target::Base, 4900), Some(100));
                assert_eq!(read(Target::Base, 1 << 40), None);
                // Behind the end of this one is nothing, now or later.
                assert_eq!(read(Target::Scratch, 0), None);
                assert!(engine.files.iter().all(Option::is_some));
            } else {
                assert!(engine.files[0].is_none());
            }
        }
    }

    #[test]
    fn failures_are_told() {
        let base = tempfile::tempfile().unwrap();
        // Every write to it says that there is no room.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
        let segment = Segment {
            address: GuestAddress(0),
            length: 512,
        };
        for mut engine in engines(&base, &full) {
            let write = Operation {
                target: Target::Scratch,
                action: Action::Write(Buffers::new(&memory, &[segment]).unwrap()),
                offset: 0,
            };
            engine.push(1, write);
            assert_eq!(all(&mut engine), [(1, Err(Some(libc::ENOSPC)))]);
        }
    }

    #[test]
    fn both_kinds_work_behind_the_filters_of_system_calls() {
        let base = tempfile::tempfile().unwrap();
        base.write_all_at(&[7; 4096], 0).unwrap();
        let scratch = tempfile::tempfile().unwrap();
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
        let sandbox = Arc::new(Sandbox::new(true).unwrap());
        let confine: Arc<Confine> = {
            let sandbox = Arc::clone(&sandbox);
            Arc::new(move || sandbox.enter_devices())
        };
        let work = || {
            let engines = confined_engines(&base, &scratch, &confine);
            sandbox.enter_devices().unwrap();
            assert!(base.metadata().is_err(), "not confined");
            let segment = |address| Segment {
                address: GuestAddress(address),
                length: 4096,
            };
            for mut engine in engines {
                let read = Action::Read(Buffers::new(&memory, &[segment(0)]).unwrap());
                let write = Action::Write(Buffers::new(&memory, &[segment(0)]).unwrap());
                for (target, action, expected) in [
                    (Target::Base, read, 4096),
                    (Target::Scratch, write, 4096),
                    (Target::Scratch, Action::Punch(512), 0),
                ] {
                    let operation = Operation {
                        target,
                        action,
                        offset: 0,
                    };
                    engine.push(0, operation);
                    assert_eq!(all(&mut engine), [(0, Ok(expected))]);
                }
            }
        };
        thread::scope(|scope| scope.spawn(work).join()).unwrap();
        let mut bytes = [0; 4096];
        scratch.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!((bytes[511], bytes[512], bytes[4095]), (0, 7, 7));
    }

    #[test]
    fn many_at_once() {
        let base = tempfile::tempfile().unwrap();
        let scratch = tempfile::tempfile().unwrap();
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
        for mut engine in engines(&base, &scratch) {
            for round in 0..4_u64 {
                for number in 0..DEPTH {
                    let segment = Segment {
                        address: GuestAddress(round * 512),
                        length: 512,
                    };
                    engine.push(
                        number,
                        Operation {
                            target: Target::Scratch,
                            action: Action::Write(Buffers::new(&memory, &[segment]).unwrap()),
                            offset: u64::try_from(number).unwrap() * 512,
                        },
                    );
                }
                let done = all(&mut engine);
                assert_eq!(done.len(), DEPTH);
                assert!(done.iter().enumerate().all(|(i, d)| *d == (i, Ok(512))));
            }
        }
    }
}
