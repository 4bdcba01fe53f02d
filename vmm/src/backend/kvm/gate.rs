//! Where a machine's threads wait for each other, so that no instruction of the guest runs before all of them
//! are confined.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A gate that vCPUs wait at.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Threads that are to be confined, and that are, beside the devices' one.
    expected: usize,
    confined: usize,
    /// The devices' thread is, and has said whom else to expect.
    devices: bool,
    is_open: bool,
}

impl Gate {
    /// A closed gate, for so many vCPUs and the devices' thread.
    pub(super) fn new(vcpus: u8) -> Self {
        let state = State {
            expected: vcpus.into(),
            confined: 0,
            devices: false,
            is_open: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// A vCPU's thread has confined itself, or one that works for the devices' one.
    pub(super) fn confined(&self) {
        self.lock().confined += 1;
        self.changed.notify_all();
    }

    /// The devices' thread has confined itself; so many others work for it.
    pub(super) fn devices_confined(&self, others: usize) {
        let mut state = self.lock();
        state.expected += others;
        state.devices = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until all threads are confined, or the gate is open since the machine ends.
    pub(super) fn wait_for_all(&self) {
        let is_one_missing = |state: &State| !state.devices || state.confined < state.expected;
        self.wait_while(|state| is_one_missing(state) && !state.is_open);
    }

    /// Lets the vCPUs pass.
    pub(super) fn open(&self) {
        self.lock().is_open = true;
        self.changed.notify_all();
    }

    /// Waits until the gate is open.
    pub(super) fn pass(&self) {
        self.wait_while(|state| !state.is_open);
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) {
        let state = self.lock();
        // Nothing that holds it can panic, so the state is whole.
        drop(self.changed.wait_while(state, |state| condition(state)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);
    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn nobody_passes_before_all_are_confined_and_it_is_open() {
        let gate = Gate::new(1);
        let (say, said) = mpsc::channel();
        let say_too = say.clone();
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.confined();
                gate.pass();
                say.send("passed").unwrap();
            });
            scope.spawn(|| {
                gate.wait_for_all();
                say_too.send("all").unwrap();
            });
            // A disk's thread may be sooner than the one that it works for.
            gate.confined();
            assert_eq!(said.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
            gate.devices_confined(2);
            assert_eq!(said.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
            gate.confined();
            assert_eq!(said.recv_timeout(LIMIT), Ok("all"));
            assert_eq!(said.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
            gate.open();
            assert_eq!(said.recv_timeout(LIMIT), Ok("passed"));
        });
    }

    #[test]
    fn an_end_is_waited_for_by_nobody() {
        let gate = Gate::new(2);
        gate.open();
        gate.wait_for_all();
        gate.pass();
    }
}
