//! What the store lists, finds, saves and removes.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{fs, process::Command};

use common::{
    archive::archive,
    layout::Layout,
    mount, run,
    stored::{files, open, two_images},
};
use images::{Platform, Reference, Store};

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
    // And back into the store's own folder.
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci:{}:example.test/a:1", path("copy").display()))
        .arg(format!("oci:{}:example.test/c:1", path("images").display())));
    let manifests: Vec<_> = store
        .list()
        .unwrap()
        .into_iter()
        .map(|listed| listed.image.unwrap())
        .map(|image| (image.reference.to_string(), image.manifest))
        .collect();
    let back = "example.test/c:1".to_owned();
    assert!(
        manifests.contains(&(back, images[0].manifest)) && manifests.len() == 3,
        "{manifests:?}"
    );
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
