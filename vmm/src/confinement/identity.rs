//! Who a process is, and what that allows.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
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
    keep(CapabilitySet::empty())
}

/// Takes all capabilities but those about files' permissions from the calling thread and those that it
/// starts, for programs that have to open files by their paths.
pub(crate) fn keep_file_access() -> io::Result<()> {
    set_no_new_privs(true)?;
    let sets = capabilities(None)?;
    keep(sets.permitted & CapabilitySet::DAC_OVERRIDE)
}

fn keep(wanted: CapabilitySet) -> io::Result<()> {
    set_capabilities(
        None,
        CapabilitySets {
            effective: wanted,
            permitted: wanted,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Keeps the process out of core dumps, and from others of its user who would trace it or read its
/// memory.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    forbid_core_files()
}

/// Keeps core dumps of the process, and of programs that it executes, from being written to files.
pub(crate) fn forbid_core_files() -> io::Result<()> {
    limit(Resource::Core, 0)
}

/// Limits the descriptors that the process can have to `most`.
pub(crate) fn limit_descriptors(most: u64) -> io::Result<()> {
    limit(Resource::Nofile, most)
}

/// Limits the address space of the process to what it has and `more` bytes, where `/proc` says how much
/// that is.
pub(crate) fn limit_address_space(more: u64) -> io::Result<()> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Ok(());
    };
    // In KiB (proc_pid_status(5)).
    let size = status.lines().find_map(|line| {
        let size = line.strip_prefix("VmSize:")?.strip_suffix("kB")?;
        size.trim().parse::<u64>().ok()
    });
    let most = size.and_then(|size| size.checked_mul(1024)?.checked_add(more));
    limit(Resource::As, most.ok_or(io::ErrorKind::InvalidData)?)
}

/// Limits the size of files that the process writes to.
pub(crate) fn limit_file_size(most: u64) -> io::Result<()> {
    limit(Resource::Fsize, most)
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
