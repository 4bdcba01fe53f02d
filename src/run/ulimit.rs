//! `--ulimit NAME=SOFT[:HARD]`.

use std::str::FromStr;

use guest_init::spec::Rlimit;

/// One limit, by docker's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit(pub Rlimit);

/// docker's names and the numbers of Linux's generic resource table (`asm-generic/resource.h`).
const NAMES: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, limits) = text
            .split_once('=')
            .ok_or("expected NAME=SOFT[:HARD], such as nofile=1024")?;
        let &(_, resource) = NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("unknown limit {name:?}"))?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let limit = Rlimit {
            resource,
            soft: number(soft)?,
            hard: number(hard)?,
        };
        if limit.soft > limit.hard {
            return Err(format!(
                "the soft limit {soft} is above the hard limit {hard}"
            ));
        }
        Ok(Self(limit))
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse().map_err(|_| format!("{text:?} is not a limit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_docker_does() {
        let limit = |resource, soft, hard| {
            Ok(Ulimit(Rlimit {
                resource,
                soft,
                hard,
            }))
        };
        assert_eq!("nofile=1024:4096".parse(), limit(7, 1024, 4096));
        assert_eq!("core=0".parse(), limit(4, 0, 0));
        assert_eq!("stack=8192:-1".parse(), limit(3, 8192, u64::MAX));
        for wrong in ["nofile", "what=1", "nofile=2:1", "nofile=x", "nofile=-1:5"] {
            assert!(wrong.parse::<Ulimit>().is_err(), "{wrong}");
        }
    }
}
