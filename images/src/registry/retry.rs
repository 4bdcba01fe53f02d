//! Trying again what may work later.

use std::{thread, time::Duration};

use super::Repository;
use crate::{Error, Event};

/// Tries of one request in all.
const TRIES: u32 = 5;
/// The wait before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a registry may ask for: beyond it, the error is shown instead.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Repository<'_> {
    /// Does `request` until it succeeds, fails for good, or has failed too often.
    pub(crate) fn with_retries<T>(
        &self,
        mut request: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            let error = match request() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(asked) = delay(&error) else {
                return Err(error);
            };
            let pause = asked.unwrap_or(wait);
            if pause > LONGEST_WAIT {
                return Err(error);
            }
            self.progress.event(Event::Retry {
                reason: &error.to_string(),
                pause,
            });
            thread::sleep(pause);
            wait *= 2;
        }
        request()
    }
}

/// `None` if trying again is of no use; else the wait that the registry asked for, if it did.
fn delay(error: &Error) -> Option<Option<Duration>> {
    match error {
        Error::Transport { source, .. } => is_passing(source).then_some(None),
        Error::Status {
            status,
            retry_after,
            ..
        } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504).then_some(*retry_after),
        _ => None,
    }
}

/// Whether a failure of the connection may pass. A name that does not exist, a refused connection and
/// a wrong certificate will not.
fn is_passing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => true,
        _ => false,
    }
}
