//! Unpacking kernel files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kernels::fuzzing::kernel_image(bytes);
});
