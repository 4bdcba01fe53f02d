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

/// Sets the wall clock if it is off. `at_start` is the host's time when the run began, in
/// nanoseconds since 1970: about when the guest's kernel did.
pub(crate) fn correct(at_start: u64) -> Result<(), Failure> {
    let wanted = Duration::from_nanos(at_start).saturating_add(since_boot());
    if duration(clock_gettime(ClockId::Realtime)).abs_diff(wanted) <= TOLERANCE {
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
