//! Every form in which other tools hand images over gives the same disk.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::place::Place;
use crate::support::layout::hex;
use crate::support::registry::Registry;
use crate::support::{PYTHON3, given, output};

/// More than the image takes of its disk; the rest is free room.
const USED: u64 = 128 << 20;

/// The first bytes of a disk, and the digest of the image's manifest.
type Disk = (Vec<u8>, String);

fn official() -> String {
    format!("oci:{}:{PYTHON3}", given("TERRARIUM_TEST_PYTHON"))
}

/// The disk that `terrarium disk` prints the path of.
#[track_caller]
fn disk(place: &Place, image: &str) -> Disk {
    let printed =
        success(
            place
                .terrarium()
                .args(["disk", "--quiet", "--platform", "linux/amd64", image]),
        );
    let mut disk = Vec::new();
    let file = fs::File::open(printed.trim_end()).unwrap();
    file.take(USED).read_to_end(&mut disk).unwrap();
    let inspected = success(place.terrarium().args(["inspect", "--json", image]));
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    (
        disk,
        inspected["platforms"][0]["manifest"]
            .as_str()
            .unwrap()
            .to_owned(),
    )
}

#[track_caller]
fn success(command: &mut Command) -> String {
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the registry has under a name: the media types of the manifest and of its first layer.
fn media_types(registry: &Registry, name: &str) -> [String; 2] {
    let raw = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}/{name}", registry.host()))
        .output()
        .unwrap();
    let manifest: Value = serde_json::from_slice(&raw.stdout).unwrap();
    [&manifest["mediaType"], &manifest["layers"][0]["mediaType"]]
        .map(|media_type| media_type.as_str().unwrap_or_default().to_owned())
}

#[test]
fn registries_serve_every_form() {
    let forms: [(&str, &[&str], &str); 3] = [
        (
            "oci:1",
            &["--format", "oci"],
            "vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            "schema2:1",
            &["--format", "v2s2"],
            "vnd.docker.image.rootfs.diff.tar.gzip",
        ),
        (
            "zstd:1",
            &[
                "--format",
                "oci",
                "--dest-compress-format",
                "zstd",
                "--dest-compress-level",
                "3",
            ],
            "vnd.oci.image.layer.v1.tar+zstd",
        ),
    ];
    let mut disks: Vec<Disk> = Vec::new();
    for (name, options, layer) in forms {
        // And in a registry of its own, or skopeo would find layers there that are good enough.
        let registry = Registry::start();
        registry.copy(options, &official(), name);
        let [manifest, first] = media_types(&registry, name);
        assert!(first.ends_with(layer), "{manifest} {first}");
        // In a place of its own, or they would share the disk that all their layers give.
        let image = format!("{}/{name}", registry.host());
        disks.push(disk(&Place::new(), &image));
    }
    let (first, others) = disks.split_first().unwrap();
    for other in others {
        assert!(first.0 == other.0, "the disks differ");
        assert_ne!(first.1, other.1, "it is the same form");
    }
}

#[test]
fn archives_of_docker_save_old_and_new_are_loaded() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    let expected = {
        let place = Place::new();
        success(
            place
                .terrarium()
                .args(["load", "--quiet"])
                .arg(given("TERRARIUM_TEST_PYTHON")),
        );
        disk(&place, PYTHON3).0
    };
    let load = |archive: &Path| {
        let place = Place::new();
        let loaded = success(place.terrarium().args(["load", "--quiet"]).arg(archive));
        assert_eq!(loaded, format!("{PYTHON3}\n"));
        assert!(disk(&place, PYTHON3).0 == expected, "the disks differ");
    };
    // As docker did until version 24, and as skopeo still does.
    let old = path("old.tar");
    let target = format!("docker-archive:{}:{PYTHON3}", old.display());
    success(Command::new("skopeo").args([
        "copy",
        "--quiet",
        "--insecure-policy",
        &official(),
        &target,
    ]));
    load(&old);
    // As docker did until version 1.10 and a while after: a folder a layer.
    load(&folders(&path("unpacked"), &old));
    // As docker does since version 25: an OCI layout and docker's manifest.json over the same blobs.
    load(&combined(&path("combined")));
}

/// Writes an archive of the files in `folder`.
fn tar(folder: &Path) -> PathBuf {
    let archive = folder.with_extension("tar");
    success(
        Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(folder)
            .arg("."),
    );
    archive
}

fn folders(folder: &Path, archive: &Path) -> PathBuf {
    fs::create_dir(folder).unwrap();
    success(
        Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(folder),
    );
    let read = |path: &Path| fs::read(path).unwrap();
    let mut manifest: Value = serde_json::from_slice(&read(&folder.join("manifest.json"))).unwrap();
    let layers = manifest[0]["Layers"].as_array_mut().unwrap();
    for (index, layer) in layers.iter_mut().enumerate() {
        let content = fs::canonicalize(folder.join(layer.as_str().unwrap())).unwrap();
        let id = hex(format!("layer {index}").as_bytes());
        fs::create_dir(folder.join(&id)).unwrap();
        fs::write(folder.join(&id).join("VERSION"), "1.0").unwrap();
        fs::write(
            folder.join(&id).join("json"),
            json!({ "id": id }).to_string(),
        )
        .unwrap();
        fs::copy(&content, folder.join(&id).join("layer.tar")).unwrap();
        *layer = json!(format!("{id}/layer.tar"));
    }
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    tar(folder)
}

fn combined(folder: &Path) -> PathBuf {
    let layout = PathBuf::from(given("TERRARIUM_TEST_PYTHON"));
    success(Command::new("cp").arg("-r").arg(&layout).arg(folder));
    let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let index = read("index.json");
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let layers: Vec<String> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| blob(&layer["digest"]))
        .collect();
    let docker = json!([{
        "Config": blob(&manifest["config"]["digest"]), "RepoTags": [PYTHON3], "Layers": layers,
    }]);
    fs::write(folder.join("manifest.json"), docker.to_string()).unwrap();
    tar(folder)
}
