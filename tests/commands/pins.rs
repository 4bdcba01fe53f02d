//! What names stand for: published digests, and lock files.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Place, refused};
use crate::support::layout::{self, EMPTY_LAYER};
use crate::support::registry::Registry;
use crate::support::{assert_output, assert_refused, output};

const PUBLISHED: &str = "python:2.7.16-alpine3.9";

fn inspect(place: &Place, options: &[&str]) -> String {
    let output = output(place.terrarium().arg("inspect").args(options));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_published_is_known_without_a_network() {
    let place = Place::new();
    let all: Value = serde_json::from_str(&inspect(&place, &["--json", PUBLISHED])).unwrap();
    assert_eq!(all["published"], true);
    let platforms = all["platforms"].as_array().unwrap();
    let names: Vec<&str> = platforms
        .iter()
        .map(|platform| platform["platform"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "linux/amd64",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64",
            "linux/386",
            "linux/ppc64le",
            "linux/s390x",
        ]
    );
    let text = inspect(&place, &[PUBLISHED]);
    let lines = |digest: &Value| text.matches(digest.as_str().unwrap()).count();
    assert_eq!(lines(&all["digest"]), 1);
    for platform in platforms {
        for part in ["manifest", "id"] {
            assert_eq!(lines(&platform[part]), 1, "{part} of {platform}");
        }
        assert_eq!(platform["command"], json!(["python2"]));
        let layers = platform["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 4);
        assert!(layers.iter().all(|layer| lines(&layer["digest"]) >= 1));
        let total: u64 = layers
            .iter()
            .map(|layer| layer["size"].as_u64().unwrap())
            .sum();
        assert_eq!(platform["size"], total);
        assert!(
            text.contains(&format!("({total} bytes to transfer)")),
            "{text}"
        );
    }
    let one = inspect(&place, &["--json", "--platform", "linux/386", PUBLISHED]);
    let digest = platforms[4]["manifest"].as_str().unwrap();
    let by_digest = inspect(&place, &["--json", &format!("python@{digest}")]);
    assert_eq!(by_digest, one);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["platforms"], json!([platforms[4]]));
    refused(
        place
            .terrarium()
            .args(["inspect", "--platform", "linux/riscv64", PUBLISHED]),
        ["linux/riscv64", "linux/s390x"],
    );
    refused(
        place.terrarium().args(["inspect", "python:3"]),
        ["python:3", "terrarium pull"],
    );
}

#[test]
fn a_name_that_stands_for_something_else_is_refused_unless_accepted() {
    // A mirror of docker.io that serves an image of its own under the published name.
    let place = Place::new();
    let registry = Registry::start();
    registry.push(&place.layout(), "a", "library/python:2.7.16-alpine3.9");
    let mirrors = json!({ "docker.io": { "mirrors": [registry.host()], "plainHttp": true } });
    place.write("home/registries.json", mirrors.to_string());
    let digest = digest(&place.layout());
    let published: Value = serde_json::from_str(&inspect(&place, &["--json", PUBLISHED])).unwrap();
    let mut pull = place.pull(PUBLISHED);
    // The registry itself cannot be reached, which is said last; what the mirror gave is said before.
    pull.env("HTTP_PROXY", "http://127.0.0.1:1");
    let failed = output(pull.args(["--no-pin"]));
    assert_output(&failed, 0, format!("{PUBLISHED}\n"));
    let stored = output(place.terrarium().args(["images", "--json"]));
    let stored: Value = serde_json::from_slice(&stored.stdout).unwrap();
    assert_eq!(stored[0]["digest"], digest);
    let mut strict = place.terrarium();
    strict.args(["pull", "--platform", "linux/amd64", PUBLISHED]);
    let failed = output(strict.env("HTTP_PROXY", "http://127.0.0.1:1"));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    for part in [&digest, published["digest"].as_str().unwrap(), "--no-pin"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

/// The digest of the manifest in a layout.
fn digest(layout: &std::path::Path) -> String {
    let index = fs::read(layout.join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_lock_file_holds_a_name_to_what_it_stood_for() {
    let place = Place::new();
    let registry = Registry::start();
    registry.push(&place.layout(), "a", "a:1");
    let first = digest(&place.layout());
    let image = format!("{}/a:1", registry.host());
    let lock = place.path("images.lock");
    let locked = |command: &mut Command| output(command.arg("--lock").arg(&lock));
    // A lock file that does not name the image is no answer for `run` and `disk`.
    let run = |place: &Place| {
        let mut command = place.terrarium();
        command.args(["run", "--quiet", "--platform", "linux/amd64", "--lock"]);
        output(command.arg(&lock).arg(&image))
    };
    assert_refused(&run(&place), [&image, "pull --lock"]);

    assert_output(&locked(&mut place.pull(&image)), 0, format!("{image}\n"));
    assert!(fs::read_to_string(&lock).unwrap().contains(&first));

    let second = Place::new();
    layout::write(
        &second.path("layout"),
        "a",
        json!({ "Cmd": ["y"] }),
        &EMPTY_LAYER,
    );
    registry.push(&second.layout(), "a", "a:1");
    let other = digest(&second.layout());
    assert_ne!(first, other);
    // The name stands for something else now: both say so, and keep nothing.
    let failed = locked(&mut second.pull(&image));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains(&first) && said.contains(&other), "{said}");
    assert_refused(&run(&second), [&first, &other]);
    // Who has the image of the lock file needs no registry to go on with it.
    let mut disk = place.terrarium();
    disk.args(["disk", "--quiet", "--platform", "linux/amd64", "--lock"])
        .arg(&lock)
        .arg(&image);
    assert!(output(&mut disk).status.success());
}
