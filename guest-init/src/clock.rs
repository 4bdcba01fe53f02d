//! The guest's clocks.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::failure::{Context, Failure};

/// Differences up to this are the host's and the guest's way of counting, not a wrong clock.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Time since the kernel started, suspended or not.
pub(crate) fn since_boot() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// Microseconds of `since_boot`, as the control protocol counts them.
pub(crate) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Sets the wall clock forward if it is behind. `at_start` is the host's time shortly before the guest's
/// kernel started, in nanoseconds since 1970, so what follows from it is never ahead of the host's time: a
/// clock that is ahead of that is nearer to it, and is left alone.
pub(crate) fn correct(at_start: u64) -> Result<(), Failure> {
    let wanted = Duration::from_nanos(at_start).saturating_add(since_boot());
    if wanted.saturating_sub(duration(clock_gettime(ClockId::Realtime))) <= TOLERANCE {
        return Ok(());
    }
    Timespec::try_from(wanted)
        .context(|| format!("Host's time {at_start} ns"))
        .and_then(|time| {
            clock_settime(ClockId::Realtime, time).context(|| "Set the clock".to_owned())
        })
}

/// A time before the epoch counts as the epoch.
fn duration(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}
