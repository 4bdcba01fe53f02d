//! Runs that never begin, and the end of the machine.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use guest_init::control::{ExitStatus, FailureKind, GuestMessage};
use vmm::VmExit;
use vmm::config::Writes;

use crate::guest::{Guest, finish, run, shell};
use crate::image::Image;

#[test]
fn what_cannot_be_set_up_is_said() {
    let disk = Image::new().disk();
    let end = Guest::boot_with(b"\xff\xff", &disk, Writes::InMemory).end();
    let (kind, message) = end.status.unwrap_err();
    assert_eq!(kind, FailureKind::Setup);
    assert!(message.starts_with("Decode /run.spec"), "{message}");

    let mut spec = run(["true"]);
    spec.root.file_system = b"iso9660".to_vec();
    let (kind, message) = finish(&spec, &disk).status.unwrap_err();
    assert_eq!(kind, FailureKind::Setup);
    assert!(message.contains("iso9660"), "{message}");

    let (kind, message) = finish(&run([]), &disk).status.unwrap_err();
    assert_eq!(
        (kind, message.as_str()),
        (FailureKind::Setup, "No command is given")
    );
}

#[test]
fn a_disk_that_is_no_file_system_is_said() {
    let disk = Image::new().disk();
    std::fs::write(disk.path(), vec![0; 1 << 20]).unwrap();
    let (kind, message) = finish(&run(["true"]), &disk).status.unwrap_err();
    assert_eq!(kind, FailureKind::Setup);
    assert!(message.starts_with("Mount /dev/vda as ext4: "), "{message}");
}

#[test]
fn the_machine_ends_when_its_host_has_gone() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&shell("sleep 1000"), &disk);
    guest.control.shutdown(Shutdown::Both).unwrap();
    assert_eq!(guest.wait_stopped(), VmExit::Guest);
}

#[test]
fn the_machine_waits_after_the_end_for_what_the_host_has_not_read() {
    let disk = Image::new().disk();
    let mut guest = Guest::start(&run(["head", "-c", "400000", "/dev/zero"]), &disk);
    assert_eq!(guest.ended(), ExitStatus::Code(0));
    std::thread::sleep(Duration::from_secs(7));
    let output = crate::guest::Collector::start(&guest.stdio);
    output.until(|all| all.len() == 400_000);
}

#[test]
fn boot_times_are_told_in_their_order() {
    let disk = Image::new().disk();
    let begun = Instant::now();
    let mut guest = Guest::boot(&run(["true"]), &disk);
    let GuestMessage::Ready { init_started_us } = guest.message() else {
        panic!("not ready");
    };
    let GuestMessage::Started { command_started_us } = guest.message() else {
        panic!("not started");
    };
    assert!(init_started_us > 0 && init_started_us < command_started_us);
    assert!(Duration::from_micros(command_started_us) < begun.elapsed() * 4);
    println!("init took {} us", command_started_us - init_started_us);
}
