//! The types that the guest's init and its host both speak.
//!
//! Two things cross the boundary: the [run specification](spec), which the host writes into the
//! initramfs, and the [control protocol](control), spoken over the port named
//! [`ports::CONTROL`]. The host trusts nothing in what comes back: see [`control::FrameReader`].

pub mod control;
pub mod ports;
pub mod spec;
