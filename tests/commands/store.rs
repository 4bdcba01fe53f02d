//! What a user does with stored images beside running them: lists, saves, loads, copies, removes.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::place::Place;
use crate::support::layout::{self, EMPTY_LAYER, Layout};
use crate::support::{output, output_with_input};
use serde_json::{Value, json};

/// What a store is for, in the words of the command.
struct Store(Place);

impl Store {
    fn new() -> Self {
        Self(Place::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.0.terrarium();
        command.args(arguments).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let output = output(&mut self.command(arguments));
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that must fail.
    #[track_caller]
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = output(&mut self.command(arguments));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        said(&output)
    }

    /// Loads an image that prints its name.
    fn load(&self, name: &str) {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({ "Cmd": ["echo", name] });
        layout::write(folder.path(), name, config, &EMPTY_LAYER);
        self.does(&["load", "-q", folder.path().to_str().unwrap()]);
    }

    fn images(&self) -> Vec<Value> {
        serde_json::from_str(&self.does(&["images", "--json"])).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn images_are_removed_as_with_docker() {
    let store = Store::new();
    for name in ["localhost/a:1", "localhost/a:2", "localhost/b:1"] {
        store.load(name);
    }
    let id = |number: usize| store.images()[number]["id"].as_str().unwrap().to_owned();
    let short = &id(2)[7..19];
    assert_eq!(
        store.does(&["images", "-q", "localhost/b"]),
        format!("{short}\n")
    );
    assert_eq!(store.does(&["images", "-q"]).lines().count(), 3);
    assert_eq!(store.does(&["images", "localhost/a"]).lines().count(), 3);
    assert_eq!(store.does(&["images", "localhost/a:2"]).lines().count(), 2);

    let removed = store.does(&["rmi", "localhost/a:2"]);
    assert!(
        removed.starts_with("Untagged: localhost/a:2\nDeleted: sha256:"),
        "{removed}"
    );
    let deleted = format!(
        "Untagged: localhost/b:1 (linux/amd64)\nDeleted: {}\n",
        id(1)
    );
    let short = &id(1)[7..19];
    assert_eq!(store.does(&["rmi", short]), deleted);
    let refusal = store.refuses(&["rmi", "localhost/b:1", "localhost/a:1"]);
    assert!(
        refusal.contains("No such image: localhost/b:1"),
        "{refusal}"
    );
    assert_eq!(
        store.images().len(),
        0,
        "what is there goes in spite of what is not"
    );
    assert_eq!(store.does(&["rmi", "-f", "localhost/b:1"]), "");

    let blobs = fs::read_dir(store.path("home/images/blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[test]
fn an_image_of_several_names_goes_by_its_id_if_forced() {
    let store = Store::new();
    let folder = store.path("layout");
    for name in ["localhost/a:1", "localhost/a:2"] {
        layout::write(&folder, name, json!({}), &EMPTY_LAYER);
        store.does(&["load", "-q", text(&folder)]);
    }
    let ids = store.does(&["images", "-q"]);
    let id = ids.trim();
    let refusal = store.refuses(&["rmi", id]);
    assert!(
        refusal.contains("localhost/a:1, localhost/a:2"),
        "{refusal}"
    );
    assert_eq!(store.images().len(), 2);
    assert!(
        store
            .does(&["rmi", "--force", id])
            .contains("Deleted: sha256:")
    );
    assert_eq!(store.images().len(), 0);
}

#[test]
fn what_is_freed_is_what_disk_usage_said() {
    let store = Store::new();
    store.load("localhost/a:1");
    store.does(&["disk", "-q", "localhost/a:1"]);
    let usage =
        || -> Value { serde_json::from_str(&store.does(&["disk", "usage", "--json"])).unwrap() };
    assert_eq!(usage()["prunable_bytes"], 0);
    assert!(usage()["disk_bytes"].as_u64().unwrap() > 0);
    assert_eq!(usage()["kernel_bytes"], 0);
    fs::write(store.path("home/images/ingest/left"), [1; 10_000]).unwrap();
    let bytes = usage()["prunable_bytes"].clone();
    let pruned: Value = serde_json::from_str(&store.does(&["prune", "--json"])).unwrap();
    assert_eq!(pruned, json!({ "blobs": 1, "disks": 0, "bytes": bytes }));
    assert_eq!(store.does(&["prune"]), "Removed 0 blobs and 0 disks, 0 B\n");
}

#[test]
fn archives_pass_through_pipes() {
    let store = Store::new();
    store.load("localhost/a:1");
    let before = store.images();
    let saved = output(&mut store.command(&["save", "localhost/a:1"])).stdout;
    let also = output(&mut store.command(&["save", "-o", "-", "localhost/a:1"])).stdout;
    assert!(saved == also);
    store.does(&["save", "-o", "/dev/null", "localhost/a:1"]);
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );

    store.does(&["rmi", "localhost/a:1"]);
    for arguments in [&["load", "-q"][..], &["load", "-q", "-"]] {
        let mut load = store.command(arguments);
        // Nothing is put where other users could see it.
        load.env("TMPDIR", "/nonexistent");
        let loaded = output_with_input(&mut load, saved.clone());
        assert!(loaded.status.success(), "{}", said(&loaded));
        assert_eq!(store.images(), before);
    }
    let archive = store.path("a.tar");
    fs::write(&archive, &saved).unwrap();
    store.does(&["load", "-q", "-i", text(&archive)]);
    assert!(
        store
            .refuses(&["load", "-q", "-i", text(&store.path("none"))])
            .contains("none")
    );
}

#[test]
fn a_copy_of_a_disk_is_the_disk() {
    let store = Store::new();
    store.load("localhost/a:1");
    let cached = store.does(&["disk", "-q", "localhost/a:1"]);
    let cached = fs::metadata(cached.trim()).unwrap();
    let copy = store.path("copy.ext4");
    fs::write(&copy, "old").unwrap();
    store.does(&["disk", "-q", "-o", text(&copy), "localhost/a:1"]);
    let copied = fs::metadata(&copy).unwrap();
    assert_eq!(copied.len(), cached.len());
    assert!(copied.blocks() <= cached.blocks() + 8, "holes stay holes");
    // Through a pipe, byte for byte.
    let mut disk = store.command(&["disk", "-q", "-o", "-", "localhost/a:1"]);
    let mut disk = disk.stdout(Stdio::piped()).spawn().unwrap();
    let compared = Command::new("cmp")
        .arg("-")
        .arg(&copy)
        .stdin(disk.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(compared.success());
    assert!(disk.wait().unwrap().success());
}

#[test]
fn a_full_disk_is_told() {
    let store = Store::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut images = store.command(&["images"]);
    let ended = images.stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(said(&ended).contains("No space left"), "{}", said(&ended));
}

#[test]
fn nothing_that_an_image_says_reaches_the_terminal_as_it_is() {
    let store = Store::new();
    let hostile = "\x1b]0;owned\x07\u{9b}2J\r\u{202e}";
    let folder = store.path("platform");
    let layout = Layout::new(&folder);
    let image = layout.image(hostile, json!({}), &EMPTY_LAYER);
    layout.finish(image, "localhost/a:1");
    let mut messages = vec![store.refuses(&["load", "-q", text(&folder)])];
    assert!(messages[0].contains("Invalid platform"), "{}", messages[0]);
    let folder = store.path("name");
    layout::write(
        &folder,
        &format!("localhost/{hostile}:1"),
        json!({}),
        &EMPTY_LAYER,
    );
    messages.push(store.refuses(&["load", "-q", text(&folder)]));

    let folder = store.path("command");
    layout::write(
        &folder,
        "localhost/b:1",
        json!({ "Cmd": [hostile] }),
        &EMPTY_LAYER,
    );
    store.does(&["load", "-q", text(&folder)]);
    messages.push(store.does(&["inspect", "localhost/b:1"]));
    let json = store.does(&["inspect", "--json", "localhost/b:1"]);
    let inspected: Value = serde_json::from_str(&json).unwrap();
    assert!(inspected.to_string().contains("owned"), "{json}");
    messages.push(json);
    for message in messages {
        let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!message.contains(odd), "{message:?}");
    }
}

#[test]
fn the_store_is_its_owners_alone() {
    for umask in ["000", "022", "077", "777"] {
        let store = Store::new();
        let folder = store.path("layout");
        layout::write(&folder, "localhost/a:1", json!({}), &EMPTY_LAYER);
        let mut shell = Command::new("sh");
        let load = store.command(&["load", "-q", text(&folder)]);
        shell
            .args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"])
            .arg(load.get_program())
            .args(load.get_args())
            .env("TERRARIUM_HOME", store.path("home/below"));
        let loaded = output(&mut shell);
        assert!(loaded.status.success(), "umask {umask}: {}", said(&loaded));
        let mut pending = vec![store.path("home/below")];
        let mut files = 0;
        while let Some(path) = pending.pop() {
            let metadata = fs::metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                assert_eq!(mode, 0o700, "umask {umask}: {}", path.display());
                let entries = fs::read_dir(&path).unwrap();
                pending.extend(entries.map(|entry| entry.unwrap().path()));
            } else {
                files += 1;
                assert_eq!(mode & 0o077, 0, "umask {umask}: {}", path.display());
            }
        }
        assert!(files > 5);
    }
}
