//! Threads of a machine's process.
//!
//! That process is a fork, in which a lock that another thread of the owner's held stays held for ever. The
//! standard library's threads take one when they begin and when they end (`thread_info` of its handler for
//! stack overflows), so an owner that starts a thread of its own at the wrong moment would make the
//! machine's hang. The C library's threads take none but its own, which its fork takes care of.

use std::ffi::CString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::thread::set_name;

/// Bytes of a thread's stack: far more than any needs, and less than a huge page, which the host would have
/// to clear.
const STACK: usize = 256 << 10;

/// A thread, which runs on if it is not joined.
#[derive(Debug)]
pub(crate) struct Thread<T> {
    id: libc::pthread_t,
    result: Arc<Mutex<Option<T>>>,
}

type Run = Box<dyn FnOnce() + Send>;

/// Starts a thread of that name, of which the kernel keeps 15 bytes.
///
/// # Errors
/// If the host allows no more threads, or the name has a NUL byte.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Thread<T>> {
    let name = CString::new(name)?;
    let result = Arc::new(Mutex::new(None));
    let theirs = Arc::clone(&result);
    let run: Run = Box::new(move || {
        // A thread without its name works as well.
        let _ = set_name(&name);
        let done = run();
        *theirs.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    });
    let id = create(Box::new(run))?;
    Ok(Thread { id, result })
}

impl<T> Thread<T> {
    /// Waits for its end, and returns what it did; `None` if it panicked.
    pub(crate) fn join(self) -> Option<T> {
        // SAFETY: it is joined once, and was not detached.
        unsafe { libc::pthread_join(self.id, ptr::null_mut()) };
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.take()
    }
}

fn create(run: Box<Run>) -> io::Result<libc::pthread_t> {
    // SAFETY: all zeroes is a valid value of it, if only to be written over.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    let mut id: libc::pthread_t = 0;
    let argument = Box::into_raw(run);
    // SAFETY: the attributes are used between their making and their end; `begin` takes the argument as what
    // it is.
    let error = unsafe {
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, STACK);
        let error =
            libc::pthread_create(&raw mut id, &raw const attributes, begin, argument.cast());
        libc::pthread_attr_destroy(&raw mut attributes);
        error
    };
    if error == 0 {
        return Ok(id);
    }
    // SAFETY: there is no thread that would have taken it.
    drop(unsafe { Box::from_raw(argument) });
    Err(io::Error::from_raw_os_error(error))
}

extern "C" fn begin(argument: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `create` made it of such a box, for this thread alone.
    let run = unsafe { Box::from_raw(argument.cast::<Run>()) };
    // Whoever joins it learns of a panic by the result that is not there.
    let _ = catch_unwind(AssertUnwindSafe(run));
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_thread_has_a_name_and_a_result() {
        let thread = spawn("named", || {
            fs::read_to_string("/proc/thread-self/comm").unwrap()
        });
        assert_eq!(thread.unwrap().join().unwrap(), "named\n");
        assert!(spawn("na\0med", || ()).is_err());
    }

    #[test]
    fn a_panic_is_no_result() {
        let thread = spawn("panics", || -> u8 {
            std::panic::resume_unwind(Box::new(()))
        });
        assert_eq!(thread.unwrap().join(), None);
    }
}
