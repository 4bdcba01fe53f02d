//! Layers of images, compressed or not.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = images::fuzzing::layer(bytes) {
        panic!("the host fails: {error}");
    }
});
