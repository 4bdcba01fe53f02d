//! Bodies that must keep coming: a server that sends a byte now and then would hold a pull up for ever
//! without ever being silent for long.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use ureq::{Body, BodyReader, http::Response};

/// How much must come, on the average, in each stretch of time.
#[derive(Clone, Copy, Debug)]
struct Pace {
    bytes: u64,
    time: Duration,
}

/// 1000 bytes a second over half a minute: what package managers give up below as well (dnf.conf,
/// `minrate` and `timeout`).
const PACE: Pace = Pace {
    bytes: 30_000,
    time: Duration::from_secs(30),
};

/// Reads what another reader gives, as long as it keeps a pace.
pub(crate) struct Steady<R> {
    source: R,
    pace: Pace,
    waited: Duration,
    bytes: u64,
}

/// The body of a response.
pub(super) fn body(response: Response<Body>) -> Steady<BodyReader<'static>> {
    Steady::new(response.into_body().into_reader(), PACE)
}

impl<R> Steady<R> {
    fn new(source: R, pace: Pace) -> Self {
        Self {
            source,
            pace,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begin = Instant::now();
        let length = self.source.read(buffer)?;
        self.bytes += length as u64;
        // Only the time spent waiting for the server counts, not what the reader does in between.
        self.waited += begin.elapsed();
        if length > 0 && self.waited >= self.pace.time {
            if self.bytes < self.pace.bytes {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "it sends too slowly: {} bytes in {} s",
                        self.bytes,
                        self.waited.as_secs()
                    ),
                ));
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Gives a byte after each pause, for ever.
    struct Dripping(Duration);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            thread::sleep(self.0);
            buffer[0] = 1;
            Ok(1)
        }
    }

    const PACE: Pace = Pace {
        bytes: 1000,
        time: Duration::from_millis(100),
    };

    #[test]
    fn who_drips_is_given_up() {
        let begin = Instant::now();
        let mut slow = Steady::new(Dripping(Duration::from_millis(10)), PACE);
        let error = slow.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("too slowly"), "{error}");
        assert!(begin.elapsed() >= PACE.time);
    }

    #[test]
    fn whoever_reads_may_take_their_time() {
        let mut quick = Steady::new(io::repeat(1).take(20), PACE);
        let mut bytes = [0; 2];
        for _ in 0..10 {
            thread::sleep(PACE.time / 5);
            quick.read_exact(&mut bytes).unwrap();
        }
        assert_eq!(quick.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn what_is_short_may_come_slowly() {
        let mut slow = Steady::new(Dripping(PACE.time / 50).take(3), PACE);
        assert_eq!(slow.read_to_end(&mut Vec::new()).unwrap(), 3);
    }
}
