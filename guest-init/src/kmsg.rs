//! The kernel's log: the only place for words when there is no port to the host.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic;

/// Writes one line to the kernel's log, as an error so that `quiet` does not hide it.
pub(crate) fn log(message: &str) {
    match OpenOptions::new().write(true).open("/dev/kmsg") {
        // Nothing is left to tell when even this fails.
        Ok(mut kmsg) => drop(kmsg.write_all(format!("<3>guest-init: {message}\n").as_bytes())),
        // Before /dev is mounted there is only the console that the kernel opened.
        Err(_) => eprintln!("guest-init: {message}"),
    }
}

/// Makes a panic say where it happened before the kernel notices that PID 1 is gone.
pub(crate) fn report_panics() {
    panic::set_hook(Box::new(|panic| {
        log(&panic.to_string().replace('\n', " "));
        crate::power::off();
    }));
}
