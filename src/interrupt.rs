//! Ctrl-C, and other signals that end a program, while there is progress on the terminal.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Whether these signals end the process at once. A handler cannot be taken back, so after a watch this
/// stands in for the default.
static AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Tidies up before a signal ends the process, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// When a signal comes, `tidy` is called, in a thread of its own. It does what is to be done and
    /// calls its argument, by which the signal ends the process.
    pub fn begin(tidy: impl FnOnce(&dyn Fn()) + Send + 'static) -> io::Result<Self> {
        // What was ignored from the start, as by nohup, is to stay so.
        let ending = ENDING.into_iter().filter(|&it| !session::is_ignored(it));
        let ending: Vec<i32> = ending.collect();
        for &signal in &ending {
            register_conditional_default(signal, Arc::clone(&AT_ONCE))?;
        }
        let mut signals = Signals::new(ending)?;
        let handle = signals.handle();
        let thread = thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                tidy(&|| {
                    // Fails for no signal of these.
                    let _ = emulate_default_handler(signal);
                });
            }
        });
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        AT_ONCE.store(true, Ordering::SeqCst);
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It may have ended by a panic, which has been shown.
            let _ = thread.join();
        }
    }
}

/// Leaves the signals to somebody who catches them already.
pub fn leave() {
    AT_ONCE.store(false, Ordering::SeqCst);
}
