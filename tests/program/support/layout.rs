//! Small OCI image layouts made on the spot.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A tar archive without entries.
pub const EMPTY_LAYER: [u8; 1024] = [0; 1024];

/// This machine's architecture, as images name it.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes an image layout with one image named `name`, of one layer, to the folder `path`.
pub fn write(path: &Path, name: &str, config: Value, layer: &[u8]) {
    let layout = Layout::new(path);
    let image = layout.image(own_architecture(), config, layer);
    layout.finish(image, name);
}

/// A layout being written. Its parts are spoken of by their descriptors.
pub struct Layout {
    path: PathBuf,
}

impl Layout {
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        Self {
            path: path.to_owned(),
        }
    }

    fn blob(&self, media_type: &str, contents: &[u8]) -> Value {
        let digest = hex(contents);
        fs::write(self.path.join("blobs/sha256").join(&digest), contents).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"),
            "digest": format!("sha256:{digest}"),
            "size": contents.len(),
        })
    }

    fn document(&self, media_type: &str, contents: &Value) -> Value {
        self.blob(media_type, contents.to_string().as_bytes())
    }

    /// Adds an image of one layer, as it is.
    pub fn image(&self, architecture: &str, config: Value, layer: &[u8]) -> Value {
        let config = json!({
            "os": "linux",
            "architecture": architecture,
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(layer))] },
        });
        let layer_type = if layer.starts_with(&GZIP_MAGIC) {
            "layer.v1.tar+gzip"
        } else {
            "layer.v1.tar"
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.document("config.v1+json", &config),
            "layers": [self.blob(layer_type, layer)],
        });
        let mut descriptor = self.document("manifest.v1+json", &manifest);
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    /// Adds a list of images for different platforms.
    pub fn list(&self, images: &[Value]) -> Value {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": images,
        });
        self.document("index.v1+json", &index)
    }

    /// Names the image or list that the layout is for.
    pub fn finish(self, mut descriptor: Value, name: &str) {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        let version = json!({ "imageLayoutVersion": "1.0.0" });
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
        fs::write(self.path.join("oci-layout"), version.to_string()).unwrap();
    }
}

/// What every gzip member begins with.
pub const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// The SHA-256 of `contents`, as digests are written.
pub fn hex(contents: &[u8]) -> String {
    let digest = Sha256::digest(contents);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
