//! A disk that is built while its layers come is the one that would be built of them afterwards.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    archive::archive,
    layout::Layout,
    mount,
    scripted::{Answer, Fixture, Scripted},
};
use images::{Digest, Disk, DiskCache, Error, Event, Image, Platform, Progress, PullOptions};

/// Bytes that do not shrink when packed.
fn noise(length: u32, salt: u32) -> Vec<u8> {
    (0..length)
        .map(|index| {
            let mixed = (index ^ salt).wrapping_mul(2_654_435_761);
            (mixed ^ mixed >> 15)
                .wrapping_mul(2_246_822_519)
                .to_le_bytes()[3]
        })
        .collect()
}

fn layers() -> Vec<Vec<u8>> {
    let contents = [noise(4 << 20, 1), noise(4 << 20, 2)];
    vec![
        archive(&[("one", &contents[0]), ("gone", b"1")]),
        archive(&[("two", &contents[1]), (".wh.gone", b"")]),
    ]
}

fn disks(fixture: &Fixture) -> DiskCache {
    DiskCache::open(&fixture.work.path().join("disks")).unwrap()
}

fn pull(
    fixture: &Fixture,
    server: &Scripted,
    progress: &dyn Progress,
) -> Result<(Image, Disk), Error> {
    disks(fixture).pull(
        &fixture.store,
        &format!("{}/x:1", server.host).parse().unwrap(),
        &Platform::new("linux", "amd64", None),
        &PullOptions::default(),
        progress,
    )
}

/// The disk of the same image, built of what is in the store.
fn afterwards(fixture: &Fixture, image: &Image) -> Digest {
    let folder = fixture.work.path().join("afterwards");
    let disks = DiskCache::open(&folder).unwrap();
    digest(&disks.disk(&fixture.store, image, &()).unwrap())
}

fn digest(disk: &Disk) -> Digest {
    mount::check(disk.path());
    // The rest is free room.
    let mut bytes = vec![0; 16 << 20];
    fs::File::open(disk.path())
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    Digest::of(&bytes)
}

/// Waits until `condition` holds.
fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "nothing happened");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Counts the layers that are on the disk.
#[derive(Default)]
struct Done(AtomicUsize);

impl Progress for Done {
    fn event(&self, event: Event<'_>) {
        if let Event::DiskLayer { done } = event {
            self.0.store(done, Ordering::Relaxed);
        }
    }
}

/// Bytes in the only file of a folder.
fn written(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten();
    files
        .map(|file| file.unwrap().metadata().unwrap().blocks() * 512)
        .sum()
}

#[test]
fn layers_reach_the_disk_while_others_come() {
    let fixture = Fixture::of(&layers());
    let folder: PathBuf = fixture.work.path().join("disks");
    let done = Arc::new(Done::default());
    let (shared, index) = (Arc::clone(&done), layer_digests(&fixture));
    let server = fixture.serve(move |path, _, _| {
        let (shared, folder) = (Arc::clone(&shared), folder.clone());
        if path.ends_with(&index[0]) {
            // The first half of the lower layer is inflated before the second is sent.
            Answer::HalfUntil(Box::new(move || until(|| written(&folder) > 1 << 20)))
        } else if path.ends_with(&index[1]) {
            // And the lower layer is complete before the upper one is.
            Answer::HalfUntil(Box::new(move || {
                until(|| shared.0.load(Ordering::Relaxed) >= 1);
            }))
        } else {
            Answer::Good
        }
    });
    let (image, disk) = pull(&fixture, &server, done.as_ref()).unwrap();
    assert_eq!(digest(&disk), afterwards(&fixture, &image));
}

/// The digests of the fixture's layers.
fn layer_digests(fixture: &Fixture) -> Vec<String> {
    let hex = fixture.manifest.replace("sha256:", "");
    let path = fixture.work.path().join("layout/blobs/sha256").join(hex);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_layer_that_breaks_off_is_gone_on_with_or_begun_anew() {
    for anew in [false, true] {
        let fixture = Fixture::of(&layers());
        let index = layer_digests(&fixture);
        let server =
            fixture.serve(
                move |path, _, count| match (path.ends_with(&index[0]), count) {
                    (true, 0) => Answer::Half,
                    (true, _) if anew => Answer::Anew,
                    _ => Answer::Good,
                },
            );
        let (image, disk) = pull(&fixture, &server, &()).unwrap();
        assert_eq!(digest(&disk), afterwards(&fixture, &image));
    }
}

#[test]
fn what_came_first_may_have_been_wrong() {
    for anew in [false, true] {
        let fixture = Fixture::of(&layers());
        let index = layer_digests(&fixture);
        let folder = fixture.work.path().join("images/ingest");
        // A part of a layer that an earlier pull left, damaged.
        fs::write(folder.join(&index[0]["sha256:".len()..]), [7; 500_000]).unwrap();
        let server = fixture.serve(move |_, _, _| if anew { Answer::Anew } else { Answer::Good });
        let (image, disk) = pull(&fixture, &server, &()).unwrap();
        assert_eq!(digest(&disk), afterwards(&fixture, &image));
    }
}

#[test]
fn lies_leave_no_disk() {
    let fixture = Fixture::of(&layers());
    let index = layer_digests(&fixture);
    let server = fixture.serve(move |path, _, _| {
        if path.ends_with(&index[1]) {
            Answer::Flipped
        } else {
            Answer::Good
        }
    });
    let error = pull(&fixture, &server, &()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let left = fs::read_dir(fixture.work.path().join("disks")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn the_same_layer_twice_comes_once() {
    let layer = layers().remove(0);
    let fixture = Fixture::of(&[layer.clone(), layer]);
    let server = fixture.serve(|_, _, _| Answer::Good);
    let (image, disk) = pull(&fixture, &server, &()).unwrap();
    assert_eq!(server.requests(&image.layers[0].digest.to_string()), 1);
    assert_eq!(digest(&disk), afterwards(&fixture, &image));
}

#[test]
fn only_what_is_missing_is_fetched() {
    let [lower, upper]: [Vec<u8>; 2] = layers().try_into().unwrap();
    let fixture = Fixture::of(&[lower.clone(), upper]);
    let layout = Layout::new(&fixture.work.path().join("layout"));
    let other = layout.image("amd64", &[lower, archive(&[("three", b"3")])]);
    let server = fixture.serve(|_, _, _| Answer::Good);
    let (image, _) = pull(&fixture, &server, &()).unwrap();
    let [lower, upper] = [0, 1].map(|index| image.layers[index].digest.to_string());
    assert_eq!((server.requests(&lower), server.requests(&upper)), (1, 1));

    let name = format!("{}/x@{}", server.host, other["digest"].as_str().unwrap());
    let platform = Platform::new("linux", "amd64", None);
    let options = PullOptions::default();
    let (image, disk) = disks(&fixture)
        .pull(
            &fixture.store,
            &name.parse().unwrap(),
            &platform,
            &options,
            &(),
        )
        .unwrap();
    let third = image.layers[1].digest.to_string();
    assert_eq!((server.requests(&lower), server.requests(&third)), (1, 1));
    assert_eq!(digest(&disk), afterwards(&fixture, &image));
}
