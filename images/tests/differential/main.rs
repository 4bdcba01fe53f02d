//! Generated stacks of layers through our builder and through `umoci unpack`, as root: after a loop
//! mount there must be no difference in names, kinds, modes, owners, times, links, device numbers,
//! extended attributes and bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "failures of helpers fail the test"
)]

#[path = "../common/mod.rs"]
mod common;
mod encode;
mod generate;

use std::{path::Path, process::Command};

use common::{layout::Layout, mount, odd::messages, snapshot};
use images::{DiskCache, Store};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

const CASES: u32 = 280;

#[test]
fn no_stack_of_layers_differs_from_umoci() {
    // Always the same stacks: a failure today is a failure tomorrow.
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[27; 32]);
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, seed);
    let mut applied = std::cell::Cell::new(0);
    let outcome = runner.run(&generate::stacks(), |stack| {
        let archives: Vec<Vec<u8>> = stack.iter().map(|layer| encode::archive(layer)).collect();
        if compare(&archives)? {
            applied.set(applied.get() + 1);
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, stack)) = outcome {
        for (number, layer) in stack.iter().enumerate() {
            println!("layer {number}:");
            for entry in layer {
                println!("    {entry:?}");
            }
        }
        panic!("{reason}");
    }
    // Stacks that both refuse prove little: most must be applied.
    assert!(
        *applied.get_mut() >= 200,
        "only {applied:?} stacks were applied"
    );
}

/// Headers in front of an entry, in every order: both must agree on which of them count.
#[test]
fn headers_that_pile_up_mean_what_they_mean_to_umoci() {
    use encode::Front::{LongName, Pax};
    let piles = [
        vec![Pax("path", "first"), Pax("path", "second")],
        vec![Pax("mtime", "5.5"), Pax("path", "second")],
        vec![Pax("path", "pax"), LongName("gnu")],
        vec![LongName("gnu"), Pax("path", "pax")],
        vec![LongName("first"), LongName("second")],
    ];
    for pile in piles {
        let archive = encode::file_behind(&pile);
        match compare(&[archive]) {
            Ok(applied) => assert!(applied, "{pile:?} is refused"),
            Err(error) => panic!("{pile:?}: {error}"),
        }
    }
}

/// Whether both applied the layers; fails if they disagree.
fn compare(archives: &[Vec<u8>]) -> Result<bool, TestCaseError> {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", archives);
    layout.name(image, "x");

    let store = Store::open(&work.path().join("images")).unwrap();
    let disks = DiskCache::open(&work.path().join("disks")).unwrap();
    let image = store.load(&folder, &()).unwrap().remove(0);
    let ours = disks.disk(&store, &image, &());
    let theirs = unpack(&folder, &work.path().join("bundle"));
    match (ours, theirs) {
        (Ok(disk), Ok(())) => {
            mount::check(disk.path());
            let mounted = mount::Mount::new(disk.path());
            let ours = snapshot::take(mounted.path());
            let theirs = snapshot::take(&work.path().join("bundle/rootfs"));
            snapshot::compare(&ours, &theirs).map_err(TestCaseError::fail)?;
            Ok(true)
        }
        (Err(_), Err(_)) => {
            let left = std::fs::read_dir(work.path().join("disks"))
                .unwrap()
                .count();
            prop_assert_eq!(left, 0, "a failed build leaves files behind");
            Ok(false)
        }
        (Ok(_), Err(theirs)) => Err(TestCaseError::fail(format!("only umoci fails: {theirs}"))),
        (Err(ours), Ok(())) => {
            let chain = messages(&ours);
            Err(TestCaseError::fail(format!("only we fail: {chain}")))
        }
    }
}

fn unpack(layout: &Path, bundle: &Path) -> Result<(), String> {
    let output = Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:x", layout.display()))
        .arg(bundle)
        .output()
        .expect("umoci must be installed");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
