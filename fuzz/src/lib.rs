//! Fuzz targets of the parts that read what guests, images and kernels say. `scripts/fuzz` builds and
//! runs them.
