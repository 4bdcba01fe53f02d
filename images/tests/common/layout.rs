//! OCI layouts made for a test.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use images::Digest;
use serde_json::{Value, json};

pub(crate) const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI layout being written.
pub(crate) struct Layout {
    folder: PathBuf,
    names: Vec<Value>,
}

impl Layout {
    pub(crate) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(
            folder.join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        Self {
            folder: folder.to_owned(),
            names: Vec::new(),
        }
    }

    /// Adds a blob and describes it.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Adds a manifest for `platform` of gzip layers with these tar archives.
    pub(crate) fn image(&self, architecture: &str, archives: &[Vec<u8>]) -> Value {
        let layers: Vec<Value> = archives
            .iter()
            .map(|archive| self.blob(GZIP_LAYER, &gzip(archive)))
            .collect();
        let diff_ids: Vec<String> = archives
            .iter()
            .map(|archive| Digest::of(archive).to_string())
            .collect();
        self.manifest(architecture, &layers, &diff_ids)
    }

    /// Adds a manifest of layers that are there already.
    pub(crate) fn manifest(
        &self,
        architecture: &str,
        layers: &[Value],
        diff_ids: &[String],
    ) -> Value {
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Cmd": ["true"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            &serde_json::to_vec(&config).unwrap(),
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        let mut descriptor = self.blob(MANIFEST, &serde_json::to_vec(&manifest).unwrap());
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    /// Adds an index of manifests.
    pub(crate) fn index(&self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.blob(INDEX, &serde_json::to_vec(&index).unwrap())
    }

    /// Names a manifest or index.
    pub(crate) fn name(&mut self, descriptor: Value, name: &str) {
        self.names(&descriptor, [name.to_owned()]);
    }

    /// Gives a manifest or index several names.
    pub(crate) fn names(&mut self, descriptor: &Value, names: impl IntoIterator<Item = String>) {
        for name in names {
            let mut descriptor = descriptor.clone();
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            self.names.push(descriptor);
        }
        let index = json!({"schemaVersion": 2, "manifests": self.names});
        fs::write(
            self.folder.join("index.json"),
            serde_json::to_vec(&index).unwrap(),
        )
        .unwrap();
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
