//! Every form in which images come as files gives the same disk.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{fs, io::Cursor, path::Path, process::Command};

use common::{
    archive::archive,
    layout::{GZIP_LAYER, Layout, gzip},
    run,
};
use images::{Digest, DiskCache, Error, Image, Platform, Store};

fn copy(source: &str, target: &str) {
    run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", source, target]));
}

/// Loads one image into a store of its own; gives its disk's digest as well.
fn load(work: &Path, source: &Path) -> (Image, Digest) {
    let place = tempfile::tempdir_in(work).unwrap();
    let store = Store::open(&place.path().join("images")).unwrap();
    let disks = DiskCache::open(&place.path().join("disks")).unwrap();
    let mut images = store.load(source, &()).unwrap();
    assert_eq!(images.len(), 1);
    let image = images.remove(0);
    let found = store.find(&image.reference, &image.platform).unwrap();
    assert_eq!(found.unwrap().manifest, image.manifest);
    let disk = disks.disk(&store, &image, &()).unwrap();
    (image, sparse_digest(disk.path()))
}

/// A digest of the disk's bytes before its unused end.
fn sparse_digest(disk: &Path) -> Digest {
    let bytes = run(Command::new("head").args(["-c", "16M"]).arg(disk)).stdout;
    Digest::of(&bytes)
}

#[test]
fn every_form_gives_the_same_disk() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    let mut layout = Layout::new(&path("layout"));
    let layers = [
        archive(&[("a", b"1"), ("b/c", b"2")]),
        archive(&[(".wh.a", b"")]),
    ];
    let image = layout.image("amd64", &layers);
    layout.name(image, "example.test/some/thing:v1");
    let from = format!(
        "oci:{}:example.test/some/thing:v1",
        path("layout").display()
    );
    let (original, disk) = load(work.path(), &path("layout"));
    assert_eq!(original.reference.to_string(), "example.test/some/thing:v1");
    assert_eq!(original.platform, Platform::new("linux", "amd64", None));

    let archive = path("oci.tar");
    copy(
        &from,
        &format!(
            "oci-archive:{}:example.test/some/thing:v1",
            archive.display()
        ),
    );
    let (image, same) = load(work.path(), &archive);
    assert_eq!(image.manifest, original.manifest);
    assert_eq!(same, disk);

    let archive = path("docker.tar");
    copy(
        &from,
        &format!(
            "docker-archive:{}:example.test/some/thing:v1",
            archive.display()
        ),
    );
    let (image, same) = load(work.path(), &archive);
    assert_eq!(image.reference, original.reference);
    assert_eq!(same, disk);

    run(Command::new("gzip").arg("-k").arg(&archive));
    let (image, same) = load(work.path(), &path("docker.tar.gz"));
    assert_eq!(image.reference, original.reference);
    assert_eq!(same, disk);
}

#[test]
fn refuses_what_is_no_image() {
    let work = tempfile::tempdir().unwrap();
    let store = Store::open(&work.path().join("images")).unwrap();
    let path = work.path().join("file");
    let refusal = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        match store.load(&path, &()).unwrap_err() {
            Error::NotAnImage { reason, .. } => reason,
            error => panic!("{error}"),
        }
    };
    assert!(refusal(b"hello").contains("not a tar archive"));
    assert!(refusal(&archive(&[("x", b"")])).contains("neither"));
    let outside = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#;
    assert!(refusal(&archive(&[("manifest.json", outside)])).contains("outside"));
    let missing = br#"[{"Config":"c.json","Layers":[]}]"#;
    assert!(refusal(&archive(&[("manifest.json", missing)])).contains("c.json is missing"));
    assert!(store.load(&work.path().join("none"), &()).is_err());
}

#[test]
fn a_changed_blob_is_noticed() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", &[archive(&[("a", b"1")])]);
    layout.name(image, "x");
    for blob in fs::read_dir(folder.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        let whole = fs::read(&blob).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&blob, changed).unwrap();
        let place = tempfile::tempdir_in(work.path()).unwrap();
        let store = Store::open(&place.path().join("images")).unwrap();
        let error = store.load(&folder, &()).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        fs::write(&blob, whole).unwrap();
    }
}

/// What a store of its own says of a folder that it does not take; it must keep no name of it.
fn refused(work: &Path, folder: &Path) -> String {
    let place = tempfile::tempdir_in(work).unwrap();
    let store = Store::open(&place.path().join("images")).unwrap();
    store.load(folder, &()).unwrap_err().to_string()
}

#[test]
fn a_small_file_cannot_ask_for_endless_work() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("names");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", &[]);
    layout.names(&image, (0..1001).map(|n| format!("localhost/x:{n}")));
    assert!(refused(work.path(), &folder).contains("more than 1000 images"));

    // 60 times 60 times 60 images, in an archive of three small indexes.
    let folder = work.path().join("nested");
    let mut layout = Layout::new(&folder);
    let mut inner = layout.image("amd64", &[]);
    for _ in 0..3 {
        let platform = inner["platform"].clone();
        inner = layout.index(&vec![inner; 60]);
        inner["platform"] = platform;
    }
    layout.name(inner, "localhost/x:1");
    assert!(refused(work.path(), &folder).contains("more than 1000 images"));

    // The same image 2000 times, in the form of `docker save`.
    let folder = work.path().join("saved");
    fs::create_dir(&folder).unwrap();
    let config = br#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}"#;
    fs::write(folder.join("c.json"), config).unwrap();
    let image = r#"{"Config":"c.json","Layers":[]}"#;
    let images = vec![image; 2000].join(",");
    fs::write(folder.join("manifest.json"), format!("[{images}]")).unwrap();
    assert!(refused(work.path(), &folder).contains("more than 1000 images"));
    let tags: Vec<String> = (0..2000).map(|n| format!("\"a:{n}\"")).collect();
    let tags = tags.join(",");
    let image = format!(r#"[{{"Config":"c.json","Layers":[],"RepoTags":[{tags}]}}]"#);
    fs::write(folder.join("manifest.json"), image).unwrap();
    assert!(refused(work.path(), &folder).contains("more than 1000 images"));

    let folder = work.path().join("deep");
    let mut layout = Layout::new(&folder);
    let mut inner = layout.image("amd64", &[]);
    for _ in 0..6 {
        let platform = inner["platform"].clone();
        inner = layout.index(&[inner]);
        inner["platform"] = platform;
    }
    layout.name(inner, "localhost/x:1");
    assert!(refused(work.path(), &folder).contains("nested too deeply"));
}

#[test]
fn a_blob_that_is_here_must_be_as_long_as_is_said() {
    let work = tempfile::tempdir().unwrap();
    let store = Store::open(&work.path().join("images")).unwrap();
    let content = archive(&[("a", b"1")]);
    let blob = gzip(&content);
    let diff_id = Digest::of(&content).to_string();
    let load = |name: &str, size: usize| {
        let folder = work.path().join(name);
        let mut layout = Layout::new(&folder);
        let mut layer = layout.blob(GZIP_LAYER, &blob);
        layer["size"] = size.into();
        let image = layout.manifest("amd64", &[layer], std::slice::from_ref(&diff_id));
        layout.name(image, &format!("localhost/{name}:1"));
        store.load(&folder, &())
    };
    load("right", blob.len()).unwrap();
    let error = load("wrong", blob.len() + 1).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    assert_eq!(store.list().unwrap().len(), 1);
    // One that the host's disk has damaged is brought in again.
    let path = work.path().join("images/blobs/sha256");
    let path = path.join(Digest::of(&blob).hex());
    fs::write(&path, b"short").unwrap();
    load("again", blob.len()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), blob);
}

#[test]
fn a_pipe_in_a_folder_holds_nobody_up() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let layer = layout.blob(GZIP_LAYER, &gzip(&archive(&[])));
    let image = layout.manifest(
        "amd64",
        std::slice::from_ref(&layer),
        &[Digest::of(b"").to_string()],
    );
    layout.name(image, "localhost/x:1");
    let hex = layer["digest"].as_str().unwrap().replace("sha256:", "");
    let blob = folder.join("blobs/sha256").join(hex);
    fs::remove_file(&blob).unwrap();
    run(Command::new("mkfifo").arg(&blob));
    assert!(refused(work.path(), &folder).contains("is not a file"));
}

#[test]
fn an_archive_may_come_as_a_stream() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", &[archive(&[("a", b"1")])]);
    layout.name(image, "localhost/x:1");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", &folder).unwrap();
    let tar = tar.into_inner().unwrap();
    for bytes in [tar.clone(), gzip(&tar)] {
        let place = tempfile::tempdir_in(work.path()).unwrap();
        let store = Store::open(&place.path().join("images")).unwrap();
        let images = store.load_stream(Cursor::new(bytes), "it", &()).unwrap();
        assert_eq!(images[0].reference.to_string(), "localhost/x:1");
        let left = fs::read_dir(place.path().join("images/ingest")).unwrap();
        assert_eq!(left.count(), 0);
    }
    let store = Store::open(&work.path().join("images")).unwrap();
    let cut = Cursor::new(tar[..tar.len() / 2].to_vec());
    let error = store.load_stream(cut, "it", &()).unwrap_err().to_string();
    assert!(error.contains("it"), "{error}");
}
