//! Who a process is, and what that allows.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// The user and group that own nothing.
const NOBODY: u32 = 65534;

/// Makes root nobody and takes all capabilities from the calling thread and those that it starts; a
/// program that they execute gets none back.
pub(crate) fn give_up_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    if geteuid().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// Keeps the process out of core dumps, and from others of its user who would trace it or read its
/// memory.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)
}

/// Limits the descriptors that the process can have to `most`.
pub(crate) fn limit_descriptors(most: u64) -> io::Result<()> {
    limit(Resource::Nofile, most)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    setrlimit(
        resource,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    )?;
    Ok(())
}
