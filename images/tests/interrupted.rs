//! Pulls that are killed, go on, or meet each other.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
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
    registry::Registry,
    scripted::{Answer, Fixture},
    stored::{files, open, two_images},
};
use images::{Platform, PullOptions, Reference};

const FOLDER: &str = "TERRARIUM_TEST_FOLDER";
const IMAGE: &str = "TERRARIUM_TEST_IMAGE";

/// Not a test: the process that [`killed_at_any_point_nothing_is_lost`] kills.
#[test]
#[ignore = "run by another test"]
fn worker() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let reference: Reference = std::env::var(IMAGE).unwrap().parse().unwrap();
    let (store, disks) = open(Path::new(&folder));
    let platform = Platform::new("linux", "amd64", None);
    disks
        .pull(&store, &reference, &platform, &PullOptions::default(), &())
        .unwrap();
}

fn start_worker(place: &Path, image: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored"])
        .env(FOLDER, place)
        .env(IMAGE, image)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_point_nothing_is_lost() {
    let noise: Vec<u8> = (0..3 << 20_u32)
        .map(|index: u32| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let layers: Vec<Vec<u8>> = ["one", "two", "three"]
        .map(|name| archive(&[(name, &noise), ("shared", name.as_bytes())]))
        .to_vec();
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", &layers);
    layout.name(image, "x");
    let registry = Registry::start();
    registry.push(&folder, "x", "x:1");
    let name = format!("{}/x:1", registry.host());
    let start = |place: &Path| start_worker(place, &name);
    let whole = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    assert!(start(whole.path()).wait().unwrap().success());
    let duration = begin.elapsed();
    let reference: Reference = name.parse().unwrap();
    let platform = Platform::new("linux", "amd64", None);
    for step in 0..30 {
        let place = tempfile::tempdir().unwrap();
        let mut child = start(place.path());
        thread::sleep(duration * step / 25);
        child.kill().unwrap();
        child.wait().unwrap();
        // What is there can be read; what is named is whole, so that a disk can be built offline.
        let (store, disks) = open(place.path());
        if let Some(image) = store.find(&reference, &platform).unwrap() {
            disks.disk(&store, &image, &()).unwrap();
        }
        store.remove(&reference, None).unwrap();
        store.prune(&disks).unwrap();
        for left in ["images/blobs/sha256", "images/ingest", "disks"] {
            assert_eq!(
                files(&place.path().join(left)),
                0,
                "{left} after {step} steps"
            );
        }
        // And whoever comes next can go on from it.
        assert!(start(place.path()).wait().unwrap().success());
        let image = store.find(&reference, &platform).unwrap().unwrap();
        let disk = disks.disk(&store, &image, &()).unwrap();
        mount::check(disk.path());
    }
}

#[test]
fn a_pull_goes_on_where_a_killed_one_stopped() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let noise: Vec<u8> = (0..1 << 20_u32)
        .map(|index: u32| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let image = layout.image("amd64", &[archive(&[("noise", &noise)])]);
    layout.name(image, "x");
    let registry = Registry::start();
    registry.push(&folder, "x", "x:1");
    let (store, disks) = open(work.path());
    let reference: Reference = format!("{}/x:1", registry.host()).parse().unwrap();
    let platform = Platform::new("linux", "amd64", None);
    let blobs = folder.join("blobs/sha256");
    for entry in fs::read_dir(blobs).unwrap() {
        // Half of it is there; of small documents a wrong half.
        let entry = entry.unwrap();
        let content = fs::read(entry.path()).unwrap();
        let half = &content[..content.len() / 2];
        let ingest = work.path().join("images/ingest").join(entry.file_name());
        fs::write(ingest, half).unwrap();
    }
    let progress = Recorder::default();
    let image = store
        .pull(&reference, &platform, &PullOptions::default(), &progress)
        .unwrap();
    let first = progress.0.lock().unwrap()[0];
    assert!(first > image.layers[0].size / 2, "it began anew");
    disks.disk(&store, &image, &()).unwrap();
    assert_eq!(files(&work.path().join("images/ingest")), 0);
}

#[test]
fn two_processes_share_one_download() {
    let fixture = Fixture::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    let both = Arc::clone(&waiting);
    let server = fixture.serve(move |path, _, _| {
        if path.contains("manifests") {
            both.fetch_add(1, Ordering::SeqCst);
            return Answer::Good;
        }
        let both = Arc::clone(&both);
        // The second half of each blob comes once both processes have asked what they need.
        Answer::HalfUntil(Box::new(move || {
            let end = Instant::now() + Duration::from_secs(60);
            while both.load(Ordering::SeqCst) < 2 && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
        }))
    });
    let place = tempfile::tempdir().unwrap();
    let name = format!("{}/x:1", server.host);
    let mut pullers = [(); 2].map(|()| start_worker(place.path(), &name));
    for puller in &mut pullers {
        assert!(puller.wait().unwrap().success());
    }
    assert_eq!(waiting.load(Ordering::SeqCst), 2);
    let (store, disks) = open(place.path());
    let platform = Platform::new("linux", "amd64", None);
    let image = store
        .find(&name.parse().unwrap(), &platform)
        .unwrap()
        .unwrap();
    assert_eq!(server.requests(&image.layers[0].digest.to_string()), 1);
    mount::check(disks.disk(&store, &image, &()).unwrap().path());
    assert_eq!(files(&place.path().join("disks")), 1);
}

/// Keeps how many bytes of a layer were there each time.
#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<u64>>);

impl images::Progress for Recorder {
    fn event(&self, event: images::Event<'_>) {
        if let images::Event::LayerBytes { bytes, .. } = event {
            self.0.lock().unwrap().push(bytes);
        }
    }
}

#[test]
fn two_pullers_share_the_work() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    two_images(&folder);
    let registry = Registry::start();
    registry.push(&folder, "example.test/a:1", "x:1");
    let (store, disks) = open(work.path());
    let reference: Reference = format!("{}/x:1", registry.host()).parse().unwrap();
    let platform = Platform::new("linux", "amd64", None);
    let manifests: Vec<_> = thread::scope(|scope| {
        let pullers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let options = PullOptions::default();
                    let (image, disk) = disks
                        .pull(&store, &reference, &platform, &options, &())
                        .unwrap();
                    mount::check(disk.path());
                    image.manifest
                })
            })
            .collect();
        pullers
            .into_iter()
            .map(|puller| puller.join().unwrap())
            .collect()
    });
    assert!(manifests.iter().all(|manifest| *manifest == manifests[0]));
    assert_eq!(files(&work.path().join("disks")), 1);
}
