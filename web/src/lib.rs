//! How registries and mirrors are asked over HTTP: through the proxies that the environment names, with redirects
//! followed, and secrets shown to nobody but the server that they are for.

mod address;
mod client;
mod error;
mod proxy;

pub use address::is_loopback;
pub use client::{Answer, Client, Options};
pub use error::Error;
