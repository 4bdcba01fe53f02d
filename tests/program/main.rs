//! Whole-program tests: the real command, real kernels, real images, real registry.
//!
//! `scripts/test program` runs them on the QEMU backend, `scripts/test kvm` on the KVM backend, where
//! need be inside the emulated KVM host. See [`support`] for what they are given.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking, in its helpers too, and nothing reaches into it"
)]

mod bench;
mod doctor;
mod exit_codes;
mod foreign;
mod kaslr;
mod kernels;
mod options;
mod platforms;
mod prune;
mod refusals;
mod registry;
mod streams;
mod support;
mod terminal;
mod wall;
mod writes;
