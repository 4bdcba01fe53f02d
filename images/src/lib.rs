//! Container images: named, pulled, stored, and turned into disks.
//!
//! A [`Reference`] names an image, a [`Store`] keeps what was pulled or loaded, and a [`DiskCache`]
//! makes ext4 disks of it. Nothing here knows of virtual machines, and nothing prints: [`Progress`]
//! hears what happens.
//!
//! Everything that comes from a registry, an archive or a layer is hostile: every blob is checked
//! against its digest, every length is bounded ([`Limits`]), and nothing is ever unpacked onto the
//! host's file system.

mod arrival;
mod config;
mod digest;
mod disk;
mod error;
mod ext4;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod image;
mod json_file;
mod layer;
mod load;
mod manifest;
mod pins;
mod platform;
mod private;
mod progress;
mod pull;
mod reference;
mod registry;
mod rootfs;
mod sparse;
mod staging;
mod store;

pub use config::ImageConfig;
pub use digest::Digest;
pub use disk::{Disk, DiskCache, DiskFile};
pub use error::Error;
pub use ext4::Ext4Error;
pub use image::Image;
pub use layer::LayerError;
pub use manifest::Descriptor;
pub use pins::{Inspection, LockFile, PublishedImage, PublishedPlatform};
pub use platform::Platform;
pub use private::create_private_folder;
pub use progress::{Event, Progress};
pub use pull::PullOptions;
pub use reference::Reference;
pub use registry::RegistryConfig;
pub use rootfs::Limits;
pub use staging::is_at;
pub use store::{Listed, Pruned, Store};
