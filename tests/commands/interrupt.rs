//! A user who loses patience with a pull.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::place::Place;
use crate::support::layout::{self, hex};
use crate::support::proxy::{self, Fault};
use crate::support::pty::OnTerminal;
use crate::support::registry::Registry;

/// A registry with an image of one large layer, and the address of a proxy that holds half of it back.
fn stalled(place: &Place) -> (Registry, String) {
    let layer: Vec<u8> = (0..4 << 20_u32)
        .map(|index: u32| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    layout::write(&place.path("large"), "a", json!({ "Cmd": ["x"] }), &layer);
    let registry = Registry::start();
    registry.push(&place.path("large"), "a", "a:1");
    let proxy = proxy::start(registry.host(), hex(&layer), Fault::Stalled);
    (registry, proxy)
}

fn pull(place: &Place, host: &str) -> Command {
    let mut command = place.terrarium();
    command.args(["pull", "--platform", "linux/amd64", &format!("{host}/a:1")]);
    command
}

/// Waits until the registry has sent half of the layer.
fn await_half(place: &Place, child: &mut Child) {
    let half = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.len() >= 2 << 20);
    while !files(&place.path("home/images/ingest")).iter().any(half) {
        assert!(child.try_wait().unwrap().is_none(), "the pull ended");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asserts that what is stored is whole, and that the rest of a layer is all that is still to come.
fn assert_goes_on(place: &Place, registry: &Registry) {
    let blobs = files(&place.path("home/images/blobs/sha256"));
    assert_eq!(blobs.len(), 2, "a configuration and a manifest");
    for blob in blobs {
        assert_eq!(
            hex(&fs::read(&blob).unwrap()),
            blob.file_name().unwrap().to_str().unwrap()
        );
    }
    let partial = files(&place.path("home/images/ingest"));
    let [partial] = &partial[..] else {
        panic!("{partial:?}")
    };
    assert!(fs::metadata(partial).unwrap().len() >= 2 << 20);
    let ended = pull(place, &registry.host()).output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(files(&place.path("home/images/ingest")).is_empty());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn ctrl_c_leaves_a_tidy_terminal_and_a_pull_that_goes_on() {
    let place = Place::new();
    let (registry, proxy) = stalled(&place);
    let mut screen = OnTerminal::start(&mut pull(&place, &proxy));
    screen.expect("MiB/4.00 MiB");
    await_half(&place, &mut screen.child);
    screen.type_in("\u{3}");
    let (status, shown) = screen.end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{shown:?}");
    let (_, left) = shown.rsplit_once("\u{1b}[2K").expect("nothing was cleared");
    assert!(!left.contains("MiB"), "{shown:?}");
    assert!(screen.is_as_before());
    assert_goes_on(&place, &registry);
}

#[test]
fn a_hangup_that_is_ignored_stays_so() {
    let place = Place::new();
    let (registry, proxy) = stalled(&place);
    let pull = pull(&place, &proxy);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", r#"trap '' HUP; exec "$0" "$@""#]);
    nohup.arg(pull.get_program()).args(pull.get_args());
    nohup.envs(
        pull.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut screen = OnTerminal::start(&mut nohup);
    screen.expect("MiB/4.00 MiB");
    await_half(&place, &mut screen.child);
    for signal in [Signal::HUP, Signal::TERM] {
        kill_process(Pid::from_child(&screen.child), signal).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(screen.end().0.signal(), Some(Signal::TERM.as_raw()));
    assert_goes_on(&place, &registry);
}

#[test]
fn without_a_terminal_the_signal_does_as_ever() {
    let place = Place::new();
    let (registry, proxy) = stalled(&place);
    let mut child = pull(&place, &proxy).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("fetching"), "{line}");
    await_half(&place, &mut child);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert_goes_on(&place, &registry);
}
