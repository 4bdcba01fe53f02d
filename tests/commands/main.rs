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
mod formats;
mod interrupt;
mod limits;
mod login;
mod output;
mod pins;
mod place;
mod proxies;
mod store;
#[path = "../program/support/mod.rs"]
mod support;
mod tls;
