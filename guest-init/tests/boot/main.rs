//! Boots guest-init on a distribution's kernel in an emulated machine, and speaks to it as a host.
//!
//! What it needs comes from the environment: see [`inputs`].

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod guest;
mod image;
mod inputs;

mod end;
mod files;
mod signals;
mod start;
mod streams;
mod terminal;
