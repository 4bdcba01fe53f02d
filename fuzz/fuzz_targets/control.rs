//! The control channel between guest and host, both ways.

#![no_main]

use std::fmt::Debug;

use guest_init::control::{FrameReader, GuestMessage, HostMessage, encode};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// What is read as messages is the same when it is sent on.
fn read<M: Debug + DeserializeOwned + PartialEq + Serialize>(bytes: &[u8]) {
    let mut reader = FrameReader::default();
    for chunk in bytes.chunks(7) {
        reader.push(chunk);
        loop {
            match reader.next_message::<M>() {
                Ok(Some(message)) => send_on(&message),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn send_on<M: Debug + DeserializeOwned + PartialEq + Serialize>(message: &M) {
    let mut reader = FrameReader::default();
    match encode(message) {
        Ok(frame) => reader.push(&frame),
        Err(error) => panic!("{message:?} cannot be written: {error}"),
    }
    let again = reader.next_message::<M>();
    assert!(
        matches!(&again, Ok(Some(again)) if again == message),
        "{message:?} became {again:?}"
    );
}

fuzz_target!(|bytes: &[u8]| {
    read::<GuestMessage>(bytes);
    read::<HostMessage>(bytes);
});
