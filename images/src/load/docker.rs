//! `docker save` archives of the old form: manifest.json, configurations and inflated layers.

use std::{collections::HashMap, io};

use serde::Deserialize;

use super::{Loading, Source, unnamed};
use crate::{
    Digest, Error, Reference,
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

pub(super) fn load(loading: &mut Loading<'_>) -> Result<(), Error> {
    let list: Vec<Saved> = loading.list("manifest.json")?;
    // Layers that have been stored, by the names of their files: each is read once, however often it
    // occurs.
    let mut layers = HashMap::new();
    list.iter()
        .try_for_each(|saved| loading.saved(saved, &mut layers))
}

impl Loading<'_> {
    fn saved(
        &mut self,
        saved: &Saved,
        known: &mut HashMap<String, Descriptor>,
    ) -> Result<(), Error> {
        let config_bytes = self.source.read(&saved.config, MAX_CONFIG)?;
        let config = Descriptor::of(OCI_CONFIG, &config_bytes);
        self.take(1, config.size)?;
        let what = format!("{} of {}", saved.config, self.source.path().display());
        let document = ConfigDocument::parse(&config_bytes, saved.layers.len(), &what)?;
        self.store.put(&config, &config_bytes)?;
        let mut layers = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(&document.diff_ids) {
            let layer = match known.get(name) {
                Some(layer) => layer.clone(),
                None => {
                    let layer = describe_layer(self.source, name, *diff_id)?;
                    self.layer(name, &layer)?;
                    known.insert(name.clone(), layer.clone());
                    layer
                }
            };
            layers.push(layer);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config,
            layers,
        };
        manifest.check(&what)?;
        let bytes = serde_json::to_vec(&manifest).map_err(|source| Error::Json { what, source })?;
        let descriptor = Descriptor::of(OCI_MANIFEST, &bytes);
        self.store.put(&descriptor, &bytes)?;
        let mut references = Vec::new();
        for tag in saved.repo_tags.iter().flatten() {
            // The first is the image's own.
            if !references.is_empty() {
                self.take(1, manifest.config.size)?;
            }
            references.push(tag.parse::<Reference>()?);
        }
        if references.is_empty() {
            references.push(unnamed(self.source.path(), descriptor.digest)?);
        }
        let named = references
            .into_iter()
            .map(|name| (name, descriptor.clone()));
        self.loaded.extend(named);
        Ok(())
    }
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
