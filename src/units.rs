//! Numbers with units, as docker's command line takes them.

use std::time::Duration;

/// A size in bytes: `64m`, `1.5g`, `1048576`, with the units b, k, m, g, t (binary, either case).
pub fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower.get(number.len()..).unwrap_or_default() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        unit => return Err(format!("unknown unit {unit:?}: use b, k, m, g or t")),
    };
    let invalid = || format!("{text:?} is not a size such as 512m or 1g");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    let unit = 1u64 << shift;
    let digits = u32::try_from(fraction.len()).map_err(|_| invalid())?;
    let scale = 10u64.checked_pow(digits).ok_or_else(invalid)?;
    let fraction: u64 = fraction.parse().map_err(|_| invalid())?;
    let fraction = u128::from(fraction) * u128::from(unit) / u128::from(scale);
    whole
        .checked_mul(unit)
        .and_then(|bytes| bytes.checked_add(u64::try_from(fraction).ok()?))
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// A number of CPUs. docker takes fractions of time; a vCPU is a whole one, so they round up.
pub fn cpus(text: &str) -> Result<u8, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number"))?;
    (1..=MAX_CPUS)
        .find(|&count| number > 0.0 && number <= f64::from(count))
        .ok_or_else(|| format!("{text} is not between 0 and {MAX_CPUS}"))
}

/// What the machine's interrupt routing has been made for.
const MAX_CPUS: u8 = 32;

/// A duration: `10s`, `1m30s`, `500ms`, or plain seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|e| e.to_string()),
    };
    parsed.and_then(|duration| {
        if duration.is_zero() {
            Err("it must be more than nothing".to_owned())
        } else {
            Ok(duration)
        }
    })
}

/// Things counted: `1 blob`, `2 blobs`.
pub fn count(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// Bytes as people read them: `23.2 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (name, unit) in UNITS {
        if count >= unit {
            let tenths = count.saturating_add(unit / 20) / (unit / 10);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("1048576"), Ok(1 << 20));
        assert_eq!(size("64m"), Ok(64 << 20));
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert_eq!(size("10MiB"), Ok(10 << 20));
        for wrong in ["", "m", "-1m", "1x", "1.m.", "99999999999999999t", "1e3"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpus_round_up() {
        assert_eq!(cpus("0.5"), Ok(1));
        assert_eq!(cpus("1"), Ok(1));
        assert_eq!(cpus("1.5"), Ok(2));
        for wrong in ["0", "-1", "33", "NaN", "inf", "two"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "0", "0s", "-1", "NaN", "1 parsec"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(23_199_130), "23.2 MB");
        assert_eq!(bytes(22_639_756), "22.6 MB");
        assert_eq!(bytes(999), "999 B");
    }
}
