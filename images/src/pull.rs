//! Pulling an image from its registry into the store.

use std::{
    io::Read,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    Digest, Error, Event, Image, Platform, Progress, Reference, Store,
    arrival::{Arrival, Arrivals},
    config::ConfigDocument,
    manifest::{DescribedPlatform, Descriptor, Document, MAX_MANIFEST},
    pins,
    registry::{self, RegistryConfig, Repository},
    store::{BlobWriter, Entry, Ingest, check_digest, check_size},
};

/// Layers fetched at the same time, as docker does.
const PARALLEL: usize = 3;

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Refuse a name that stands for something else than this product has published for it.
    pub pinned: bool,
    /// Refuse a name that stands for something else than this digest.
    pub locked: Option<Digest>,
    /// Mirrors, plain HTTP and certificates.
    pub registries: RegistryConfig,
    /// Docker's `config.json`, for credentials.
    pub docker_config: Option<PathBuf>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            pinned: true,
            locked: None,
            registries: RegistryConfig::default(),
            docker_config: None,
        }
    }
}

impl Store {
    /// Fetches `reference` for `platform`: only what the store lacks. Every blob is checked against its
    /// digest and size while it streams.
    ///
    /// # Errors
    /// If the registry cannot be reached or refuses, has no such image or none for the platform, sends
    /// something else than was asked for, or the store cannot be written. Complete blobs are kept, and
    /// incomplete ones are gone on with by the next pull.
    pub fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image, Error> {
        let nothing = |_: &Image, _: &Arrivals| ();
        let (image, ()) = self.pull_beside(reference, platform, options, progress, &nothing)?;
        Ok(image)
    }

    /// Pulls, and does something `beside` it, in a thread of its own, with the layers as they come. The
    /// pull does not wait for it and fails by itself only.
    pub(crate) fn pull_beside<T: Send>(
        &self,
        reference: &Reference,
        platform: &Platform,
        options: &PullOptions,
        progress: &dyn Progress,
        beside: &(dyn Fn(&Image, &Arrivals) -> T + Sync),
    ) -> Result<(Image, T), Error> {
        let _keep = self.keep_blobs()?;
        let docker_config = options.docker_config.as_ref();
        let (origin, mirrors) =
            registry::repositories(reference, &options.registries, docker_config, progress)?;
        for mirror in mirrors {
            match self.pull_from(&mirror, reference, platform, options, beside) {
                Ok(pulled) => return Ok(pulled),
                Err(error) => progress.event(Event::MirrorFailed {
                    reason: &error.to_string(),
                }),
            }
        }
        self.pull_from(&origin, reference, platform, options, beside)
    }

    fn pull_from<T: Send>(
        &self,
        repository: &Repository<'_>,
        reference: &Reference,
        platform: &Platform,
        options: &PullOptions,
        beside: &(dyn Fn(&Image, &Arrivals) -> T + Sync),
    ) -> Result<(Image, T), Error> {
        let (source, descriptor) = self.resolve(repository, reference, platform, options)?;
        let image = self.image(reference.clone(), source, &descriptor)?;
        let arrivals = Arrivals::new(&image.layers);
        let (pulled, done) = thread::scope(|scope| {
            let beside = scope.spawn(|| beside(&image, &arrivals));
            let pulled = self.fetch_layers(repository, &image.layers, &arrivals);
            let pulled = pulled.and_then(|()| {
                self.name([Entry {
                    reference: reference.clone(),
                    requested: platform.clone(),
                    source,
                    descriptor,
                }])
            });
            (pulled, beside.join())
        });
        pulled?;
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((image, done))
    }

    /// Finds the platform's manifest and stores it. Also gives the digest that the name stands for.
    fn resolve(
        &self,
        repository: &Repository<'_>,
        reference: &Reference,
        platform: &Platform,
        options: &PullOptions,
    ) -> Result<(Digest, Descriptor), Error> {
        let version = match (reference.digest(), reference.tag_or_latest()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or_default().to_owned(),
        };
        let top = repository.manifest(&version)?;
        let source = Digest::of(&top.bytes);
        let what = |digest: Digest| format!("manifest {digest} of {reference}");
        if let Some(expected) = reference.digest() {
            check_digest(|| what(expected), expected, source)?;
        }
        pins::check(reference, options.locked, options.pinned, source)?;
        let (mut descriptor, bytes) =
            match Document::parse(&top.bytes, &top.media_type, &what(source))? {
                Document::Manifest(_) => (Descriptor::of(&top.media_type, &top.bytes), top.bytes),
                Document::Index(index) => {
                    let chosen = index.choose(platform, &reference.to_string())?.clone();
                    if chosen.size > MAX_MANIFEST {
                        return Err(Error::Document {
                            what: what(chosen.digest),
                            reason: format!("it is larger than {MAX_MANIFEST} bytes"),
                        });
                    }
                    let answer = repository.manifest(&chosen.digest.to_string())?;
                    let name = || what(chosen.digest);
                    check_size(name, chosen.size, answer.bytes.len() as u64)?;
                    check_digest(name, chosen.digest, Digest::of(&answer.bytes))?;
                    (chosen, answer.bytes)
                }
            };
        let name = what(descriptor.digest);
        let Document::Manifest(manifest) = Document::parse(&bytes, &descriptor.media_type, &name)?
        else {
            return Err(Error::Document {
                what: name,
                reason: "it is an index within an index".to_owned(),
            });
        };
        if let Some(media_type) = &manifest.media_type {
            descriptor.media_type.clone_from(media_type);
        }
        let config = repository.blob_bytes(&manifest.config)?;
        let what = format!("configuration {} of {reference}", manifest.config.digest);
        let document = ConfigDocument::parse(&config, manifest.layers.len(), &what)?;
        if platform.distance(&document.platform).is_none() {
            return Err(Error::NoPlatform {
                reference: reference.to_string(),
                wanted: platform.clone(),
                available: vec![document.platform],
            });
        }
        descriptor.platform = Some(DescribedPlatform::from(&document.platform));
        self.put(&manifest.config, &config)?;
        self.put(&descriptor, &bytes)?;
        Ok((source, descriptor))
    }

    fn fetch_layers(
        &self,
        repository: &Repository<'_>,
        layers: &[Descriptor],
        arrivals: &Arrivals,
    ) -> Result<(), Error> {
        let _end = End(arrivals);
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            while failed().is_none() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (Some(layer), Some(arrival)) =
                    (layers.get(index), arrivals.layers().get(index))
                else {
                    return;
                };
                if let Err(error) = self.fetch_layer(repository, layer, arrival) {
                    failed().get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..PARALLEL.min(layers.len()) {
                scope.spawn(work);
            }
        });
        failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    fn fetch_layer(
        &self,
        repository: &Repository<'_>,
        layer: &Descriptor,
        arrival: &Arrival,
    ) -> Result<(), Error> {
        let progress = repository.progress();
        let digest = &layer.digest;
        let present = match self.ingest(layer)? {
            Ingest::Present => true,
            Ingest::Wanted(writer) => {
                progress.event(Event::LayerStarted {
                    digest,
                    size: layer.size,
                });
                arrival.coming(writer.open()?, writer.offset());
                fetch_blob(repository, layer, writer, arrival)?;
                false
            }
        };
        arrival.stored();
        progress.event(Event::LayerDone { digest, present });
        Ok(())
    }
}

/// Whatever happens, nobody waits for layers that will not come.
struct End<'a>(&'a Arrivals);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn fetch_blob(
    repository: &Repository<'_>,
    blob: &Descriptor,
    mut writer: Box<BlobWriter>,
    arrival: &Arrival,
) -> Result<(), Error> {
    let resumed = writer.offset() > 0;
    fetch_rest(repository, blob, &mut writer, arrival)?;
    if resumed && !writer.is_right() {
        // What an earlier process left, perhaps when the power failed, is not to be relied on.
        writer.restart()?;
        arrival.reached(0);
        fetch_rest(repository, blob, &mut writer, arrival)?;
    }
    writer.finish()
}

/// Fetches what is still missing of a blob.
fn fetch_rest(
    repository: &Repository<'_>,
    blob: &Descriptor,
    writer: &mut BlobWriter,
    arrival: &Arrival,
) -> Result<(), Error> {
    repository.with_retries(|| {
        if writer.offset() == blob.size {
            return Ok(());
        }
        let mut answer = repository.blob(blob, writer.offset())?;
        if !answer.continues {
            writer.restart()?;
            arrival.reached(0);
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = answer
                .body
                .read(&mut buffer)
                .map_err(|error| answer.broken(error))?;
            if length == 0 {
                break;
            }
            writer.write(&buffer[..length])?;
            arrival.reached(writer.offset());
            repository.progress().event(Event::LayerBytes {
                digest: &blob.digest,
                bytes: writer.offset(),
            });
        }
        Ok(())
    })
}
