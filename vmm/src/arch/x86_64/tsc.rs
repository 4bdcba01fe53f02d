//! The rate of the host's time stamp counter.

use std::arch::x86_64::_rdtsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the counter is watched. Reading clock and counter one after the other is off by well
/// under a microsecond, so this keeps the error below 100 ppm.
const SAMPLE: Duration = Duration::from_millis(10);

/// Cycles of the time stamp counter in a millisecond; `None` if it does not count steadily.
pub(crate) fn tsc_khz() -> Option<u64> {
    let (start, begun) = read();
    sleep(SAMPLE);
    let (end, ended) = read();
    let cycles = u128::from(end.checked_sub(start)?);
    let nanoseconds = ended.duration_since(begun).as_nanos();
    u64::try_from(cycles * 1_000_000 / nanoseconds)
        .ok()
        .filter(|&khz| khz > 0)
}

/// Counter and clock at the same moment: the closest of a few attempts, since the thread may be
/// put aside between the two.
fn read() -> (u64, Instant) {
    let attempt = || {
        // SAFETY: every x86_64 CPU has the instruction.
        let before = unsafe { _rdtsc() };
        let now = Instant::now();
        // SAFETY: as above.
        let after = unsafe { _rdtsc() };
        (after.wrapping_sub(before), before, now)
    };
    let mut best = attempt();
    for _ in 0..7 {
        let next = attempt();
        if next.0 < best.0 {
            best = next;
        }
    }
    (best.1 + best.0 / 2, best.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (one, two) = (tsc_khz().unwrap(), tsc_khz().unwrap());
        assert!(one.abs_diff(two) < one / 100, "{one} and {two} kHz");
    }
}
