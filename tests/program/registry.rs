//! Images from a real registry: they run, and what is wrong with them is said and not kept.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::layout::{self, EMPTY_LAYER, GZIP_MAGIC, Layout};
use crate::support::proxy::{self, Fault};
use crate::support::registry::{Registry, free_port};
use crate::support::store::{Store, files};
use crate::support::{
    PYTHON3, assert_output, assert_refused, given, output, output_with_input, terrarium,
};

impl Store {
    /// Asserts that neither `pull` nor `run` gets the image, that both say one line with each of
    /// `parts`, and that no file is left behind that is not whole.
    #[track_caller]
    fn refuses<const N: usize>(&self, options: &[&str], image: &str, parts: [&str; N]) {
        let pulled = output(self.pull([], image).args(options));
        let said = String::from_utf8_lossy(&pulled.stderr);
        assert_eq!(pulled.status.code(), Some(1), "{said}");
        assert_eq!(pulled.stdout, b"", "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        let mut run = self.command(terrarium());
        run.args(["run", "--quiet"]).args(options).arg(image);
        assert_refused(&output(&mut run), parts);
        self.assert_clean();
        let stored = output(&mut self.run(["--pull", "never"], image));
        assert_refused(&stored, [image]);
    }

    /// Asserts that the store has nothing but whole blobs.
    #[track_caller]
    fn assert_clean(&self) {
        for blob in files(&self.path().join("images/blobs/sha256")) {
            let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(layout::hex(&fs::read(&blob).unwrap()), name);
        }
        assert_eq!(
            files(&self.path().join("images/ingest")),
            Vec::<PathBuf>::new()
        );
        assert_eq!(files(&self.path().join("disks")), Vec::<PathBuf>::new());
    }
}

fn official() -> PathBuf {
    PathBuf::from(given("TERRARIUM_TEST_PYTHON"))
}

/// The official image's manifest, and the digest of it.
fn manifest() -> (Value, String) {
    let parse = |path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let index = parse(official().join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let blob = official().join("blobs").join(digest.replace(':', "/"));
    (parse(blob), digest.to_owned())
}

/// A registry with the official image, and the digest of one of the image's layers.
fn registry_and_layer() -> (Registry, String) {
    let registry = Registry::start();
    registry.push(&official(), PYTHON3, "python:3.12-alpine");
    let (manifest, _) = manifest();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    (registry, layer.to_owned())
}

#[test]
fn an_official_image_runs_by_tag_and_by_digest() {
    let store = Store::new();
    let (registry, _) = registry_and_layer();
    let tagged = format!("{}/python:3.12-alpine", registry.host());
    let pulled = output(&mut store.pull([], &tagged));
    assert_output(&pulled, 0, format!("{tagged}\n"));
    let mut modules = store.run([], &tagged);
    modules.args(["python3", "-c"]).arg(
        "import ssl, sqlite3, ctypes, multiprocessing; print(multiprocessing.Pool(2).map(abs, [-1, 2]))",
    );
    assert_output(&output(&mut modules), 0, "[1, 2]\n");

    let (_, digest) = manifest();
    let by_digest = format!("{}/python@{digest}", registry.host());
    let mut default = store.run(["-i"], &by_digest);
    let answered = output_with_input(&mut default, b"print(6 * 7)".to_vec());
    assert_output(&answered, 0, "42\n");

    // What is stored needs no registry.
    drop(registry);
    let mut stored = store.run([], &by_digest);
    assert_output(&output(stored.args(["echo", "here"])), 0, "here\n");
}

#[test]
fn a_blob_with_another_digest_is_refused() {
    let (registry, layer) = registry_and_layer();
    let proxy = proxy::start(registry.host(), layer.clone(), Fault::FlippedBit);
    let image = format!("{proxy}/python:3.12-alpine");
    Store::new().refuses(&[], &image, [&layer, "digest"]);
}

#[test]
fn a_manifest_with_another_digest_is_refused() {
    let (registry, _) = registry_and_layer();
    let (_, digest) = manifest();
    let proxy = proxy::start(registry.host(), digest.clone(), Fault::FlippedBit);
    let image = format!("{proxy}/python@{digest}");
    Store::new().refuses(&[], &image, [&digest, "digest"]);
}

#[test]
fn a_short_layer_is_refused() {
    let (registry, layer) = registry_and_layer();
    let proxy = proxy::start(registry.host(), layer.clone(), Fault::Short);
    let image = format!("{proxy}/python:3.12-alpine");
    Store::new().refuses(&[], &image, [&layer, "bytes long"]);
}

#[test]
fn a_broken_connection_is_taken_up_again() {
    let store = Store::new();
    let (registry, layer) = registry_and_layer();
    let proxy = proxy::start(registry.host(), layer, Fault::BrokenOnce);
    let image = format!("{proxy}/python:3.12-alpine");
    let pulled = output(&mut store.pull([], &image));
    assert_output(&pulled, 0, format!("{image}\n"));
    store.assert_clean();
}

#[test]
fn a_layer_that_cannot_be_inflated_gives_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let layer = [&GZIP_MAGIC[..], b"and nothing of what should follow"].concat();
    layout::write(folder.path(), "a", json!({ "Cmd": ["x"] }), &layer);
    let registry = Registry::start();
    registry.push(folder.path(), "a", "broken:1");
    let store = Store::new();
    let image = format!("{}/broken:1", registry.host());
    let digest = layout::hex(&layer);
    assert_refused(&output(&mut store.run([], &image)), [&digest]);
    store.assert_clean();
}

#[test]
fn a_platform_that_is_not_in_the_list_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let config = json!({ "Cmd": ["x"] });
    let images = ["arm64", "s390x"].map(|name| layout.image(name, config.clone(), &EMPTY_LAYER));
    let list = layout.list(&images);
    layout.finish(list, "a");
    let registry = Registry::start();
    registry.push(folder.path(), "a", "foreign:1");
    let image = format!("{}/foreign:1", registry.host());
    let (wanted, offered) = ("linux/riscv64", "linux/s390x");
    Store::new().refuses(&["--platform", wanted], &image, [wanted, offered]);
}

#[test]
fn an_unknown_image_is_named() {
    let (registry, _) = registry_and_layer();
    for name in ["python:no-such-tag", "no/such/image:1"] {
        let image = format!("{}/{name}", registry.host());
        Store::new().refuses(&[], &image, [&image, "not found"]);
    }
}

#[test]
fn a_registry_that_does_not_answer_is_named() {
    let host = format!("127.0.0.1:{}", free_port());
    Store::new().refuses(&[], &format!("{host}/a:1"), [&host]);
}
