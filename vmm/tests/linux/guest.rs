//! The guest's half: PID 1 of the machines under test.

use std::collections::BTreeMap;
use std::env;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use crate::disk_io;

/// Bytes of the disks.
pub(crate) const DISK_SIZE: u64 = 4 << 20;
/// Bytes of the disks for random I/O, which are zeroes at first.
pub(crate) const LARGE_DISK_SIZE: u64 = 32 << 20;
/// Ports that send back a line.
pub(crate) const ECHO_PORTS: usize = 98;
/// Bytes that the guest uses and frees, for its host to get back.
pub(crate) const FREED: usize = 128 << 20;

const PAGE: usize = 4096;

/// What stands at each place of the disks at first.
pub(crate) fn disk_byte(offset: u64) -> u8 {
    u8::try_from((offset / 512 * 3 + offset) % 253).unwrap()
}

pub(crate) fn main() -> ! {
    mount_all();
    load_modules();
    let mut report = open_port("test.report");
    let failed = report.try_clone().unwrap();
    panic::set_hook(Box::new(move |info| {
        let message = info.to_string().replace('\n', " ");
        let _ = (&failed).write_all(format!("{message}\n").as_bytes());
        eprintln!("{message}");
    }));
    match env::var("scenario").unwrap().as_str() {
        "devices" => devices(),
        "small-memory" | "two-cpus" | "four-cpus" | "large-memory" => machine(),
        "random-io" => random_io(),
        "ports" => ports(&mut report),
        "freed-memory" => freed_memory(&mut report),
        "clock" => clock(&mut report),
        "stream" => stream(&mut report),
        "restart" => end(&mut report, || reboot(RebootCommand::Restart).unwrap()),
        "power-off" => end(&mut report, || reboot(RebootCommand::PowerOff).unwrap()),
        "panic" => end(&mut report, || std::process::exit(1)),
        "spin" => spin(&mut report),
        other => panic!("no scenario {other}"),
    }
    check_log();
    writeln!(report, "done").unwrap();
    loop {
        thread::park();
    }
}

fn mount_all() {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(kind, target, kind, MountFlags::empty(), None).unwrap();
    }
}

fn load_modules() {
    let list = fs::read_to_string("/modules.list").unwrap();
    for path in list.lines() {
        let file = File::open(path).unwrap();
        finit_module(file, &CString::default(), 0)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// Finds a port by its name. The driver makes ports some time after it was loaded.
fn open_port(name: &str) -> File {
    for _ in 0..500 {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
        {
            let entry = entry.unwrap();
            let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if found.trim_end() == name {
                let path = PathBuf::from("/dev").join(entry.file_name());
                return OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(path)
                    .unwrap();
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no port {name}");
}

fn devices() {
    machine();
    let disks = disks();
    assert_eq!(disks.len(), 3, "{disks:?}");
    check_writable_disk(&disks["in-memory"]);
    check_writable_disk(&disks["in-file"]);
    check_read_only_disk(&disks["read-only"]);
    let mut random = [0; 64];
    File::open("/dev/hwrng")
        .unwrap()
        .read_exact(&mut random)
        .unwrap();
    assert_ne!(random, [0; 64]);
    // From KVM or, where that does not tell it, from the machine's clock.
    let now = std::time::SystemTime::now();
    assert!(now > std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
}

/// CPUs and memory are as many as they should be.
fn machine() {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let vcpus: usize = env::var("vcpus").unwrap().parse().unwrap();
    let expected = if vcpus == 1 {
        "0".to_owned()
    } else {
        format!("0-{}", vcpus - 1)
    };
    assert_eq!(online.trim(), expected);
    for cpu in 0..vcpus {
        let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
        let read = |name: &str| fs::read_to_string(format!("{topology}/{name}")).unwrap();
        assert_eq!(read("physical_package_id").trim(), "0");
        assert_eq!(read("core_id").trim(), cpu.to_string());
        assert_eq!(read("thread_siblings_list").trim(), cpu.to_string());
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap();
    if env::var("scenario").unwrap() == "large-memory" {
        assert!(total > 11 << 19, "only {total} KiB");
        // The kernel takes memory from its end first.
        let block = vec![0x5a_u8; 64 << 20];
        assert!(block.iter().step_by(PAGE).all(|&byte| byte == 0x5a));
    }
}

/// The disks by their serial numbers.
fn disks() -> BTreeMap<String, PathBuf> {
    let mut disks = BTreeMap::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let entry = entry.unwrap();
        if let Ok(serial) = fs::read_to_string(entry.path().join("serial")) {
            let path = PathBuf::from("/dev").join(entry.file_name());
            disks.insert(serial.trim_end().to_owned(), path);
        }
    }
    disks
}

/// Both ways to keep writes, at several depths.
fn random_io() {
    let disks = disks();
    let count: usize = env::var("operations").unwrap().parse().unwrap();
    let mut at = 0;
    for depth in [1, 4, 16] {
        for kind in ["in-memory", "in-file"] {
            let path = &disks[&format!("{kind}-{depth}")];
            let start = std::time::Instant::now();
            disk_io::check(path, LARGE_DISK_SIZE, depth, count / depth);
            eprintln!("{kind}, depth {depth}: {:?}", start.elapsed());
            at += 1;
        }
    }
    assert_eq!(at, disks.len());
}

/// A hundred ports, of which one is opened late and one's other end is gone.
fn ports(report: &mut File) {
    for number in 0..ECHO_PORTS {
        let mut port = open_port(&format!("echo.{number}"));
        let mut line = [0; 16];
        let length = port.read(&mut line).unwrap();
        assert_eq!(line[..length], format!("line {number}\n").into_bytes());
        port.write_all(&line[..length]).unwrap();
    }
    let mut gone = open_port("gone");
    writeln!(report, "ready").unwrap();
    // What came before the end is there, then the end, and it stays.
    let mut bytes = Vec::new();
    gone.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"last words");
    assert_eq!(gone.read(&mut [0; 8]).unwrap(), 0);
    // Everything that the host sent while nobody listened.
    let mut late = open_port("late");
    let mut bytes = vec![0; 300_000];
    late.read_exact(&mut bytes).unwrap();
    assert!(
        bytes
            .into_iter()
            .eq((0..300_000_u32).map(|i| i.to_le_bytes()[1]))
    );
    late.write_all(b"thanks").unwrap();
}

/// Uses memory, and frees it when told to.
fn freed_memory(report: &mut File) {
    let mut input = open_port("test.data");
    let block = vec![0x5a_u8; FREED];
    assert!(block.iter().step_by(PAGE).all(|&byte| byte == 0x5a));
    writeln!(report, "ready").unwrap();
    input.read_exact(&mut [0]).unwrap();
    drop(block);
    writeln!(report, "freed").unwrap();
    input.read_exact(&mut [0]).unwrap();
    // It is there again when it is needed.
    let block = vec![0xa5_u8; FREED];
    assert!(block.iter().step_by(PAGE).all(|&byte| byte == 0xa5));
}

/// Tells the time whenever the host asks.
fn clock(report: &mut File) {
    machine();
    let base = "/sys/devices/system/clocksource/clocksource0";
    let current = fs::read_to_string(format!("{base}/current_clocksource")).unwrap();
    assert!(
        ["kvm-clock", "tsc", "arch_sys_counter"].contains(&current.trim()),
        "{current}"
    );
    let mut input = open_port("test.data");
    writeln!(report, "ready").unwrap();
    let start = std::time::Instant::now();
    loop {
        let mut request = [0];
        input.read_exact(&mut request).unwrap();
        if request == *b"." {
            break;
        }
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        writeln!(
            report,
            "{} {}",
            now.as_millis(),
            start.elapsed().as_millis()
        )
        .unwrap();
    }
    let after = fs::read_to_string(format!("{base}/current_clocksource")).unwrap();
    assert_eq!(current, after);
}

fn check_writable_disk(path: &PathBuf) {
    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut expected: Vec<u8> = (0..DISK_SIZE).map(disk_byte).collect();
    assert!(read_all(&mut disk) == expected);
    // Pseudo-random places and lengths, from a few bytes to many pages.
    let mut random = disk_io::Random(0x2545_f491_4f6c_dd1d);
    for round in 0..200_u8 {
        let offset = random.below(expected.len());
        let length = random
            .below(if round % 4 == 0 { 300_000 } else { 3_000 })
            .min(expected.len() - offset)
            .max(1);
        expected[offset..offset + length].fill(round);
        disk.seek(SeekFrom::Start(u64::try_from(offset).unwrap()))
            .unwrap();
        disk.write_all(&expected[offset..offset + length]).unwrap();
        if round % 16 == 0 {
            disk.sync_all().unwrap();
        }
    }
    disk.sync_all().unwrap();
    assert!(read_all(&mut disk) == expected);

    // A range of zeroes, and a discarded one, which may be anything but is the base's.
    range_ioctl(&disk, 0x127f, 10_240, 70_000 / 512 * 512).unwrap();
    expected[10_240..10_240 + 70_000 / 512 * 512].fill(0);
    range_ioctl(&disk, 0x1277, 1 << 20, 1 << 20).unwrap();
    let discarded = (1 << 20..2 << 20).map(disk_byte);
    expected.splice(1 << 20..2 << 20, discarded);
    assert!(read_all(&mut disk) == expected);
}

fn check_read_only_disk(path: &PathBuf) {
    let mut disk = File::open(path).unwrap();
    assert!(
        read_all(&mut disk)
            .into_iter()
            .eq((0..DISK_SIZE).map(disk_byte))
    );
    let name = path.file_name().unwrap().to_str().unwrap();
    let read_only = fs::read_to_string(format!("/sys/block/{name}/ro")).unwrap();
    assert_eq!(read_only.trim(), "1");
}

/// The whole disk, from the device and not from the kernel's memory.
fn read_all(disk: &mut File) -> Vec<u8> {
    disk.sync_all().unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    let mut contents = Vec::new();
    disk.rewind().unwrap();
    disk.read_to_end(&mut contents).unwrap();
    contents
}

/// `BLKDISCARD` or `BLKZEROOUT` of a range.
fn range_ioctl(disk: &File, request: u64, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: both requests read two numbers.
    let result = unsafe { libc::ioctl(disk.as_raw_fd(), request, range.as_ptr()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends back what comes, after a while in which nothing can move.
fn stream(report: &mut File) {
    let mut input = open_port("test.data");
    writeln!(report, "ready").unwrap();
    thread::sleep(Duration::from_secs(2));
    let mut bytes = vec![0; 100_000];
    let mut left: usize = 8 << 20;
    while left > 0 {
        let count = input.read(&mut bytes).unwrap();
        assert!(count > 0, "the stream ended {left} bytes early");
        input.write_all(&bytes[..count]).unwrap();
        left -= count;
    }
}

fn end(report: &mut File, how: impl FnOnce()) {
    writeln!(report, "ready").unwrap();
    writeln!(report, "last words").unwrap();
    how();
}

/// Keeps all CPUs busy for ever.
fn spin(report: &mut File) {
    writeln!(report, "ready").unwrap();
    for _ in 0..4 {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
}

/// The kernel found nothing wrong while it booted.
fn check_log() {
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .unwrap();
    let mut record = [0; 8192];
    while let Ok(length) = log.read(&mut record) {
        let text = String::from_utf8_lossy(&record[..length]).into_owned();
        let level: u32 = text.split(',').next().unwrap().parse().unwrap();
        assert!(level & 7 > 3, "the kernel says: {text}");
    }
}
