//! Operations by threads, for hosts that forbid `io_uring`.

use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use super::super::super::Confine;
use super::super::scratch;
use super::{Action, Buffers, Completion, Operation, descriptors};
use crate::thread::{self, Thread};

/// Operations that are carried out at the same time; more wait for their turn.
const THREADS: usize = 2;

/// A few threads and what they have to do.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<Thread<()>>,
}

#[derive(Debug)]
struct Shared {
    files: Vec<File>,
    state: Mutex<State>,
    /// There is something to do, or nothing ever again.
    changed: Condvar,
    event: Arc<EventFd>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(usize, Operation)>,
    done: Vec<Completion>,
    /// What a thread panicked with.
    panic: Option<Box<dyn Any + Send>>,
    ended: bool,
}

impl Pool {
    pub(super) fn new(
        base: &File,
        scratch: Option<&File>,
        event: &Arc<EventFd>,
        confine: &Arc<Confine>,
    ) -> io::Result<Self> {
        let files = descriptors(base, scratch)
            .iter()
            .map(|file| file.try_clone_to_owned().map(OwnedFd::into))
            .collect::<io::Result<_>>()?;
        let shared = Arc::new(Shared {
            files,
            state: Mutex::default(),
            changed: Condvar::new(),
            event: Arc::clone(event),
        });
        // From here on, dropping it ends the threads that were made.
        let mut pool = Self {
            shared,
            threads: Vec::with_capacity(THREADS),
        };
        for _ in 0..THREADS {
            let (shared, confine) = (Arc::clone(&pool.shared), Arc::clone(confine));
            let run = move || shared.run(&confine);
            pool.threads.push(thread::spawn("disk", run)?);
        }
        Ok(pool)
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    pub(super) fn push(&self, number: usize, operation: Operation) {
        self.shared.lock().waiting.push_back((number, operation));
        self.shared.changed.notify_one();
    }

    /// The next operation that is done. A panic that a thread ended in goes on here, in whoever asks: what is
    /// waited for must not stay away without a word.
    pub(super) fn next(&self) -> Option<Completion> {
        let mut state = self.shared.lock();
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
        state.done.pop()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// What a thread does until the pool ends.
    fn run(&self, confine: &Arc<Confine>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(confine))) {
            self.lock().panic = Some(panic);
            self.announce();
        }
    }

    fn work(&self, confine: &Arc<Confine>) {
        let confined = confine();
        while let Some((number, operation)) = self.take() {
            let result = match &confined {
                Ok(()) => self.carry_out(&operation),
                Err(error) => Err(error.kind().into()),
            };
            // Guest memory is not touched any more once it is said to be done.
            drop(operation);
            self.lock().done.push((number, result));
            self.announce();
        }
    }

    fn announce(&self) {
        // Only a full counter can refuse, and then there is an announcement already.
        let _ = self.event.write(1);
    }

    fn take(&self) -> Option<(usize, Operation)> {
        let mut state = self.lock();
        loop {
            if let Some(operation) = state.waiting.pop_front() {
                return Some(operation);
            }
            if state.ended {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn carry_out(&self, operation: &Operation) -> io::Result<usize> {
        let index = usize::try_from(operation.target.index()).map_err(io::Error::other)?;
        let file = self.files.get(index).ok_or(io::ErrorKind::NotFound)?;
        let offset = operation.offset;
        match &operation.action {
            Action::Read(buffers) => transfer(libc::preadv, file, buffers, offset),
            Action::Write(buffers) => transfer(libc::pwritev, file, buffers, offset),
            Action::Punch(length) => scratch::punch(file, offset, *length).map(|()| 0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `preadv(2)` or `pwritev(2)`.
type Transfer = unsafe extern "C" fn(RawFd, *const libc::iovec, libc::c_int, i64) -> isize;

fn transfer(call: Transfer, file: &File, buffers: &Buffers, offset: u64) -> io::Result<usize> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    let count = i32::try_from(buffers.vectors.len()).map_err(io::Error::other)?;
    // SAFETY: the vectors describe guest memory that is mapped as long as `buffers` lives. The guest
    // may change it meanwhile, which the kernel does not care about.
    let moved = unsafe { call(file.as_raw_fd(), buffers.vectors.as_ptr(), count, offset) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_goes_on_where_the_operation_is_waited_for() {
        let file = tempfile::tempfile().unwrap();
        let event = Arc::new(EventFd::new(0).unwrap());
        let confine: Arc<Confine> = Arc::new(|| resume_unwind(Box::new("as it should")));
        let pool = Pool::new(&file, None, &event, &confine).unwrap();
        assert!(event.read().unwrap() > 0);
        let panic = catch_unwind(AssertUnwindSafe(|| pool.next())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"as it should"));
    }
}
