//! Small OCI image layouts made on the spot.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Writes an image layout with one image named `name`, of one layer, to the folder `path`.
pub fn write(path: &Path, name: &str, config: Value, layer: &[u8]) {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let add = |media_type: &str, contents: &[u8]| {
        let digest = hex(contents);
        fs::write(blobs.join(&digest), contents).unwrap();
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": contents.len(),
        })
    };
    let layer_descriptor = add("application/vnd.oci.image.layer.v1.tar", layer);
    let config = json!({
        "os": "linux",
        "architecture": "amd64",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(layer))] },
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": [layer_descriptor],
    });
    let mut descriptor = add(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(
        path.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    )
    .unwrap();
}

/// A tar archive without entries.
pub const EMPTY_LAYER: [u8; 1024] = [0; 1024];

fn hex(contents: &[u8]) -> String {
    let digest = Sha256::digest(contents);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
