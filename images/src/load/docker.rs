//! `docker save` archives of the old form: manifest.json, configurations and inflated layers.

use std::io;

use serde::Deserialize;

use super::{MAX_LIST, Source, unnamed};
use crate::{
    Digest, Error, Image, Progress, Store,
    config::ConfigDocument,
    digest::Hasher,
    error::FileContext,
    manifest::{Descriptor, MAX_CONFIG, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn load(
    store: &Store,
    source: &Source,
    progress: &dyn Progress,
) -> Result<Vec<Image>, Error> {
    let bytes = source.read("manifest.json", MAX_LIST)?;
    let list: Vec<Saved> = serde_json::from_slice(&bytes).map_err(|error| Error::Json {
        what: format!("manifest.json of {}", source.path().display()),
        source: error,
    })?;
    let mut images = Vec::new();
    for saved in list {
        images.append(&mut load_image(store, source, &saved, progress)?);
    }
    Ok(images)
}

fn load_image(
    store: &Store,
    source: &Source,
    saved: &Saved,
    progress: &dyn Progress,
) -> Result<Vec<Image>, Error> {
    let config_bytes = source.read(&saved.config, MAX_CONFIG)?;
    let what = format!("{} of {}", saved.config, source.path().display());
    let document = ConfigDocument::parse(&config_bytes, saved.layers.len(), &what)?;
    let config = Descriptor::of(OCI_CONFIG, &config_bytes);
    store.put(&config, &config_bytes)?;
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(&document.diff_ids) {
        let layer = describe_layer(source, name, *diff_id)?;
        store.load_layer(source, name, &layer, progress)?;
        layers.push(layer);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config,
        layers,
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|source| Error::Json { what, source })?;
    let descriptor = Descriptor::of(OCI_MANIFEST, &bytes);
    store.put(&descriptor, &bytes)?;
    let tags = saved.repo_tags.iter().flatten();
    let mut references: Vec<_> = tags.map(|tag| tag.parse()).collect::<Result<_, _>>()?;
    if references.is_empty() {
        references.push(unnamed(source.path(), descriptor.digest)?);
    }
    references
        .into_iter()
        .map(|reference| store.name_loaded(reference, &descriptor, &manifest))
        .collect()
}

/// Describes a layer. Inflated, as docker saves them, its digest is its diff_id; some tools save it
/// compressed, so it is read once to know.
fn describe_layer(source: &Source, name: &str, diff_id: Digest) -> Result<Descriptor, Error> {
    let (mut content, size) = source.open_file(name)?;
    let mut hasher = Hasher::default();
    io::copy(&mut content, &mut hasher).context("read", source.path().join(name))?;
    let digest = hasher.finish();
    // What it is compressed with is told by its first bytes, when the disk is built.
    let media_type = if digest == diff_id {
        OCI_LAYER.to_owned()
    } else {
        format!("{OCI_LAYER}+gzip")
    };
    Ok(Descriptor::new(&media_type, digest, size))
}
