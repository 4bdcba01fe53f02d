//! Writing images to an OCI image layout in a tar archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use super::Store;
use crate::{
    Digest, Error, Image,
    error::FileContext,
    manifest::{Descriptor, Index, OCI_INDEX},
};

const NAME: &str = "org.opencontainers.image.ref.name";

impl Store {
    /// Writes `images` to `output` as one archive that skopeo, umoci and docker read. The same images
    /// give the same bytes.
    ///
    /// # Errors
    /// If a blob is missing or `output` cannot be written.
    pub fn save(&self, images: &[Image], output: &mut dyn Write) -> Result<(), Error> {
        let mut archive = tar::Builder::new(output);
        let mut blobs = BTreeSet::new();
        let mut manifests = Vec::new();
        for image in images {
            let missing = Error::MissingBlob {
                digest: image.manifest,
            };
            let descriptor = self.descriptor(image)?.ok_or(missing)?;
            blobs.extend([image.manifest, image.id]);
            blobs.extend(image.layers.iter().map(|layer| layer.digest));
            manifests.push(Descriptor {
                annotations: BTreeMap::from([(NAME.to_owned(), image.reference.canonical())]),
                ..descriptor
            });
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            manifests,
        };
        let index = serde_json::to_vec(&index).map_err(|source| Error::Json {
            what: "index.json".to_owned(),
            source,
        })?;
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        append(&mut archive, "oci-layout", layout.len() as u64, &layout[..])?;
        append(&mut archive, "index.json", index.len() as u64, &index[..])?;
        for digest in blobs {
            self.append_blob(&mut archive, &digest)?;
        }
        archive.finish().context("write", "the archive")
    }

    fn append_blob(
        &self,
        archive: &mut tar::Builder<&mut dyn Write>,
        digest: &Digest,
    ) -> Result<(), Error> {
        let file = self.open_blob(digest)?;
        let path = self.blob_path(digest);
        let size = file.metadata().context("examine", path)?.len();
        append(
            archive,
            &format!("blobs/sha256/{}", digest.hex()),
            size,
            file,
        )
    }
}

fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> Result<(), Error> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive
        .append_data(&mut header, name, content)
        .context("write", name)
}
