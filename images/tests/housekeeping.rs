//! What the store lists, saves and removes, and what is left after a process was killed.

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
    run,
    scripted::{Answer, Fixture},
};
use images::{DiskCache, Platform, PullOptions, Reference, Store};

const FOLDER: &str = "TERRARIUM_TEST_FOLDER";
const IMAGE: &str = "TERRARIUM_TEST_IMAGE";

fn open(work: &Path) -> (Store, DiskCache) {
    (
        Store::open(&work.join("images")).unwrap(),
        DiskCache::open(&work.join("disks")).unwrap(),
    )
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// A layout with two images that share their lower layer.
fn two_images(folder: &Path) {
    let mut layout = Layout::new(folder);
    let lower = archive(&[("lower", b"1")]);
    for name in ["a", "b"] {
        let upper = archive(&[(name, name.as_bytes())]);
        let image = layout.image("amd64", &[lower.clone(), upper]);
        layout.name(image, &format!("example.test/{name}:1"));
    }
}

#[test]
fn lists_removes_and_prunes() {
    let work = tempfile::tempdir().unwrap();
    two_images(&work.path().join("layout"));
    let (store, disks) = open(work.path());
    store.load(&work.path().join("layout"), &()).unwrap();
    let listed = store.list().unwrap();
    let names: Vec<String> = listed
        .iter()
        .map(|listed| listed.reference.to_string())
        .collect();
    assert_eq!(names, ["example.test/a:1", "example.test/b:1"]);
    let [first, second] = [0, 1].map(|index| listed[index].image.as_ref().unwrap());
    let used = disks.disk(&store, first, &()).unwrap();
    drop(disks.disk(&store, second, &()).unwrap());
    let blobs = work.path().join("images/blobs/sha256");
    // Three layers, two configurations, two manifests.
    assert_eq!(files(&blobs), 7);
    assert_eq!(store.prune(&disks).unwrap().blobs, 0);

    assert_eq!(store.remove(&listed[0].reference, None).unwrap().len(), 1);
    assert_eq!(store.remove(&listed[0].reference, None).unwrap().len(), 0);
    fs::write(work.path().join("images/ingest/abc"), b"left behind").unwrap();
    fs::write(work.path().join("disks/abc.partial"), b"left behind").unwrap();
    let foreseen = store.prunable(&disks).unwrap();
    let pruned = store.prune(&disks).unwrap();
    assert_eq!(foreseen, pruned);
    assert_eq!(
        (pruned.blobs, pruned.disks),
        (4, 1),
        "the disk in use stays"
    );
    assert!(used.path().exists());
    assert_eq!(files(&blobs), 4);
    drop(used);
    let pruned = store.prune(&disks).unwrap();
    assert_eq!((pruned.blobs, pruned.disks), (0, 1));
    assert!(pruned.bytes > 0);
    let kept = disks.disk(&store, second, &()).unwrap();
    mount::check(kept.path());
}

#[test]
fn an_image_is_found_by_its_id() {
    let work = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&work.path().join("layout"));
    // Configurations differ by what is in their layers: enough of them for two to begin alike.
    for number in 0..40_u8 {
        let image = layout.image("arm64", &[archive(&[("n", &[number])])]);
        layout.name(image.clone(), &format!("example.test/a:{number}"));
        layout.name(image, &format!("example.test/b:{number}"));
    }
    let (store, _) = open(work.path());
    let images = store.load(&work.path().join("layout"), &()).unwrap();
    let host = Platform::new("linux", "amd64", None);
    let hex = images[7].id.hex();
    for name in [hex[..12].to_owned(), format!("sha256:{hex}")] {
        let reference: Reference = name.parse().unwrap();
        let found = store.find(&reference, &host).unwrap().unwrap();
        assert_eq!(found.id, images[7].id);
        let named = store.with_id(&reference).unwrap();
        assert_eq!(named.len(), 2);
        let inspected = store.inspect(&reference).unwrap().unwrap();
        assert_eq!(inspected.image.platforms[0].id, images[7].id);
    }
    let nobody: Reference = "0123456789abcdef".parse().unwrap();
    assert!(store.find(&nobody, &host).unwrap().is_none());
}

#[test]
fn a_damaged_image_hides_no_other() {
    let work = tempfile::tempdir().unwrap();
    two_images(&work.path().join("layout"));
    let (store, disks) = open(work.path());
    let images = store.load(&work.path().join("layout"), &()).unwrap();
    let blob = |digest: images::Digest| {
        let blobs = work.path().join("images/blobs/sha256");
        blobs.join(digest.hex())
    };
    // As an earlier version let a hostile image write it.
    let index = work.path().join("images/index.json");
    let text = fs::read_to_string(&index).unwrap();
    let odd = text.replacen(r#""linux/amd64""#, r#""linux/am d64""#, 1);
    assert!(odd != text);
    fs::write(&index, odd).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);

    fs::write(blob(images[0].id), b"damaged").unwrap();
    let listed = store.list().unwrap();
    assert!(listed[0].image.is_err() && listed[1].image.is_ok());
    store.prune(&disks).unwrap();
    fs::remove_file(blob(images[0].manifest)).unwrap();
    let listed = store.list().unwrap();
    assert!(listed[0].image.is_err() && listed[1].image.is_ok());
    store.prune(&disks).unwrap();
    let whole = listed[1].image.as_ref().unwrap();
    mount::check(disks.disk(&store, whole, &()).unwrap().path());
    // What was damaged comes back with the image.
    store.load(&work.path().join("layout"), &()).unwrap();
    assert!(store.list().unwrap().iter().all(|it| it.image.is_ok()));
}

#[test]
fn what_is_saved_is_what_was_there() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    two_images(&path("layout"));
    let (store, _) = open(work.path());
    let images = store.load(&path("layout"), &()).unwrap();
    let save = || {
        let mut saved = Vec::new();
        store.save(&images, &mut saved).unwrap();
        saved
    };
    assert!(save() == save());
    fs::write(path("saved.tar"), save()).unwrap();
    let again = Store::open(&path("again")).unwrap();
    for (image, loaded) in images
        .iter()
        .zip(again.load(&path("saved.tar"), &()).unwrap())
    {
        assert_eq!(image.manifest, loaded.manifest);
        assert_eq!(image.reference, loaded.reference);
    }

    // Independent readers agree, on the archive and on the store itself.
    let inspected = run(Command::new("skopeo")
        .args(["inspect", "--format", "{{.Digest}}"])
        .arg(format!(
            "oci-archive:{}:example.test/a:1",
            path("saved.tar").display()
        )));
    let digest = String::from_utf8(inspected.stdout).unwrap();
    assert_eq!(digest.trim(), images[0].manifest.to_string());
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci:{}:example.test/a:1", path("images").display()))
        .arg(format!("oci:{}:example.test/a:1", path("copy").display())));
    let copied = Store::open(&path("copied"))
        .unwrap()
        .load(&path("copy"), &())
        .unwrap();
    assert_eq!(copied[0].manifest, images[0].manifest);
    fs::create_dir(path("unpacked")).unwrap();
    run(Command::new("tar")
        .arg("-xf")
        .arg(path("saved.tar"))
        .arg("-C")
        .arg(path("unpacked")));
    for name in ["a", "b"] {
        let bundle = path(&format!("bundle-{name}"));
        run(Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!(
                "{}:example.test/{name}:1",
                path("unpacked").display()
            ))
            .arg(&bundle));
        let content = |file: &str| fs::read(bundle.join("rootfs").join(file)).unwrap();
        assert_eq!(
            (content("lower"), content(name)),
            (b"1".to_vec(), name.as_bytes().to_vec())
        );
    }
}

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
