//! The backend that runs machines in this process, on `/dev/kvm`.

pub(crate) mod kick;
