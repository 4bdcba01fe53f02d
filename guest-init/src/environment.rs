//! The command's environment.

use guest_init::spec::Bytes;

/// `PATH` of a command whose image and user name none, as docker sets it.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Puts together the environment: the defaults, `given` over them (the last of a name wins), and
/// `HOME` where it is missing or empty. An entry of `given` without `=` takes that name away.
pub(crate) fn complete(
    given: &[Bytes],
    hostname: &[u8],
    home: &[u8],
    terminal: bool,
) -> Vec<Bytes> {
    let mut environment = vec![variable(b"PATH", DEFAULT_PATH)];
    if !hostname.is_empty() {
        environment.push(variable(b"HOSTNAME", hostname));
    }
    if terminal {
        environment.push(variable(b"TERM", b"xterm"));
    }
    for entry in given {
        let name = name_of(entry);
        let place = environment.iter().position(|old| name_of(old) == name);
        match (place, entry.contains(&b'=')) {
            (Some(place), true) => entry.clone_into(&mut environment[place]),
            (Some(place), false) => drop(environment.remove(place)),
            (None, true) => environment.push(entry.clone()),
            (None, false) => {}
        }
    }
    if value(&environment, b"HOME").is_none_or(<[u8]>::is_empty) {
        environment.retain(|entry| name_of(entry) != b"HOME");
        environment.push(variable(b"HOME", home));
    }
    environment
}

/// The value of a variable, if it is set.
pub(crate) fn value<'a>(environment: &'a [Bytes], name: &[u8]) -> Option<&'a [u8]> {
    environment
        .iter()
        .find(|entry| name_of(entry) == name)
        .and_then(|entry| entry.get(name.len() + 1..))
}

fn variable(name: &[u8], value: &[u8]) -> Bytes {
    [name, b"=", value].concat()
}

fn name_of(entry: &[u8]) -> &[u8] {
    entry.split(|&byte| byte == b'=').next().unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_text(given: &[&str], hostname: &str, terminal: bool) -> Vec<String> {
        let given: Vec<Bytes> = given
            .iter()
            .map(|entry| entry.as_bytes().to_vec())
            .collect();
        complete(&given, hostname.as_bytes(), b"/root", terminal)
            .into_iter()
            .map(|entry| String::from_utf8(entry).unwrap())
            .collect()
    }

    #[test]
    fn defaults_come_first_and_home_last() {
        assert_eq!(
            complete_text(&["A=1"], "box", true),
            [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOSTNAME=box",
                "TERM=xterm",
                "A=1",
                "HOME=/root",
            ]
        );
    }

    #[test]
    fn what_is_given_wins_and_the_last_of_a_name() {
        assert_eq!(
            complete_text(&["PATH=/a", "TERM=vt100", "HOME=/h", "PATH=/b=c"], "", true),
            ["PATH=/b=c", "TERM=vt100", "HOME=/h"]
        );
    }

    #[test]
    fn a_name_alone_is_taken_away_and_an_empty_home_replaced() {
        assert_eq!(
            complete_text(&["HOME=", "PATH", "B"], "", false),
            ["HOME=/root"]
        );
    }

    #[test]
    fn values_are_found_by_whole_name() {
        let environment = [b"PATHS=x".to_vec(), b"PATH=y".to_vec(), b"E=".to_vec()];
        assert_eq!(value(&environment, b"PATH"), Some(&b"y"[..]));
        assert_eq!(value(&environment, b"E"), Some(&b""[..]));
        assert_eq!(value(&environment, b"F"), None);
    }
}
