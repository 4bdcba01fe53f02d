//! Taking from a process what its machine does not need, so that a guest that takes the process over
//! can do nothing with it: namespaces of its own, an empty root folder, nobody's user and no
//! capability. docs/threat-model.md says what is promised.
//!
//! Whatever a host does not allow is made up for by something else where that is possible, and the
//! process's threads have filters of system calls beside all this.

mod identity;
mod namespaces;
mod paths;

pub(crate) use identity::{
    forbid_core_files, forbid_dumps, give_up_privileges, keep_file_access, limit_address_space,
    limit_descriptors, limit_file_size,
};
pub(crate) use namespaces::{Namespaces, empty_root, enter as enter_namespaces};
pub(crate) use paths::{Paths, allow_only};
