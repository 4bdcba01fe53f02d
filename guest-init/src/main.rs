//! PID 1 of a terrarium guest.

fn main() {}
