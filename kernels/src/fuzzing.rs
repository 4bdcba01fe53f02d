//! Entry points for fuzzing: bytes become kernels and packages. Each function takes any bytes and
//! returns.

use std::io;
use std::path::Path;

use crate::image;
use crate::modules::Modules;
use crate::package::{Contents, kept_as, read_apk, read_deb};

/// Unpacks the bytes as a kernel file.
pub fn kernel_image(bytes: &[u8]) {
    if let Ok(kernel) = image::unpack(bytes.to_vec()) {
        // Any version, or none.
        let _ = kernel.version();
    }
}

/// Takes what matters out of the bytes as a Debian package, and reads its modules.
///
/// # Errors
/// If the host has no room for a temporary file.
pub fn deb(bytes: &[u8]) -> io::Result<()> {
    let mut contents = Contents::new_in(Path::new("/dev/shm"), kept_as)?;
    // Whatever came before an error is there.
    let _ = read_deb(bytes, &mut contents);
    let _ = Modules::read(&contents);
    Ok(())
}

/// Takes what matters out of the bytes as an Alpine package, and reads its modules.
///
/// # Errors
/// If the host has no room for a temporary file.
pub fn apk(bytes: &[u8]) -> io::Result<()> {
    let mut contents = Contents::new_in(Path::new("/dev/shm"), kept_as)?;
    // Whatever came before an error is there.
    let _ = read_apk(bytes, &mut contents, None);
    let _ = Modules::read(&contents);
    Ok(())
}
