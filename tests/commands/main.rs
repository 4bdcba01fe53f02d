//! Tests of the commands that need no machine, with real registries and the tools that make and read
//! images. `scripts/test program` runs them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test fails by panicking, its helpers are shared, and nothing reaches into it"
)]

mod certificates;
mod interrupt;
mod login;
mod output;
mod place;
mod proxies;
#[path = "../program/support/mod.rs"]
mod support;
mod tls;
