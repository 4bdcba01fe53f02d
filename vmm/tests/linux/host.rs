//! The host's half: makes the machines and watches them.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernels::cpio::Archive;
use kernels::{Arch, BootOptions, Kernel, Store};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;
use vmm::backend::kvm::Kvm;
use vmm::config::{Discovery, Disk, InitramfsPart, Port, Writes};
use vmm::{Backend, Machine, VmConfig, VmExit};

use crate::guest::{DISK_SIZE, ECHO_PORTS, FREED, LARGE_DISK_SIZE, disk_byte};
use crate::support::{children, stop, wait};

/// Emulated hosts are slow.
const LIMIT: Duration = Duration::from_secs(120);

/// What all machines have in common.
pub(crate) struct Host {
    kernel: Kernel,
    initramfs: Vec<u8>,
    scenario: &'static str,
}

/// A machine under test.
struct Running {
    machine: Box<dyn Machine>,
    report: BufReader<UnixStream>,
    data: UnixStream,
    base: NamedTempFile,
}

impl Host {
    pub(crate) fn new() -> Result<Self, String> {
        let home = env::var_os("TERRARIUM_HOME").ok_or("TERRARIUM_HOME is not set")?;
        let arch = Arch::host().ok_or("no kernels for this architecture")?;
        let kernel = Store::open(&Path::new(&home).join("kernels"))
            .and_then(|store| store.default_for(arch))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            initramfs: initramfs(&kernel),
            kernel,
            scenario: "",
        })
    }

    pub(crate) fn for_scenario(&self, scenario: &'static str) -> Self {
        Self {
            kernel: self.kernel.clone(),
            initramfs: self.initramfs.clone(),
            scenario,
        }
    }

    fn start(&self, vcpus: u8, memory: u64) -> Running {
        let (data, data_port) = UnixStream::pair().unwrap();
        let mut base = NamedTempFile::new().unwrap();
        let contents: Vec<u8> = (0..DISK_SIZE).map(disk_byte).collect();
        base.write_all(&contents).unwrap();
        let disk = |serial: &str, writes| disk(base.path(), serial, writes);
        let disks = vec![
            disk("in-memory", Writes::InMemory),
            disk("in-file", in_file()),
            disk("read-only", Writes::Refused),
        ];
        data.set_read_timeout(Some(LIMIT)).unwrap();
        data.set_write_timeout(Some(LIMIT)).unwrap();
        let (machine, report) =
            self.launch(vcpus, memory, disks, vec![port("test.data", data_port)]);
        Running {
            machine,
            report,
            data,
            base,
        }
    }

    /// Starts a machine with these disks, and these ports beside the one that the guest reports by.
    fn launch(
        &self,
        vcpus: u8,
        memory: u64,
        disks: Vec<Disk>,
        mut ports: Vec<Port>,
    ) -> (Box<dyn Machine>, BufReader<UnixStream>) {
        let (report, report_port) = UnixStream::pair().unwrap();
        let (console, serial) = UnixStream::pair().unwrap();
        ports.insert(0, port("test.report", report_port));
        let mut arguments = self.kernel.boot_arguments(&BootOptions {
            serial: true,
            ..BootOptions::default()
        });
        arguments.push(format!("scenario={} vcpus={vcpus}", self.scenario));
        arguments.push(format!("operations={}", setting("TERRARIUM_TEST_IO", 128)));
        let machine = Kvm.start(VmConfig {
            arch: vmm::config::Arch::HOST,
            vcpus,
            memory,
            kernel: self.kernel.vmlinux(),
            initramfs: vec![InitramfsPart::Bytes(self.initramfs.clone())],
            kaslr: self.kernel.can_be_moved(),
            command_line: arguments.join(" "),
            discovery: match self.kernel.discovery() {
                kernels::Discovery::Acpi => Discovery::Acpi,
                kernels::Discovery::CommandLine => Discovery::CommandLine,
                kernels::Discovery::DeviceTree => Discovery::DeviceTree,
            },
            disks,
            ports,
            balloon: true,
            serial: Some(OwnedFd::from(serial)),
            sandbox: true,
            stats: false,
        });
        thread::spawn(move || {
            for line in BufReader::new(console).lines().map_while(Result::ok) {
                eprintln!("    {line}");
            }
        });
        report.set_read_timeout(Some(LIMIT)).unwrap();
        (machine.unwrap(), BufReader::new(report))
    }
}

/// A number from the environment, for runs that are longer than usual.
fn setting(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |value| value.parse().unwrap())
}

fn port(name: &str, stream: UnixStream) -> Port {
    Port {
        name: name.into(),
        stream,
    }
}

fn disk(path: &Path, serial: &str, writes: Writes) -> Disk {
    Disk {
        path: path.into(),
        serial: serial.into(),
        writes,
    }
}

fn in_file() -> Writes {
    Writes::InFile {
        folder: env::temp_dir(),
    }
}

/// The guest's next line.
fn next_line(report: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    report.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

impl Running {
    /// Waits for the guest's next line.
    fn expect(&mut self, expected: &str) {
        assert_eq!(next_line(&mut self.report), expected);
    }

    /// The guest says that all is well, the machine stops, and the disk's base is what it was.
    fn finish(mut self) {
        self.expect("done");
        assert_eq!(self.machine.exit(), None);
        stop(&mut *self.machine);
        let contents = fs::read(self.base.path()).unwrap();
        assert!(contents.into_iter().eq((0..DISK_SIZE).map(disk_byte)));
    }
}

pub(crate) fn devices(host: &Host) {
    host.start(1, 128 << 20).finish();
}

/// As little as a small kernel boots with, and a distribution's.
pub(crate) fn small_memory(host: &Host) {
    let kernel = fs::metadata(host.kernel.vmlinux()).unwrap().len();
    let memory = if kernel < 24 << 20 { 64 } else { 96 };
    println!("{memory} MiB for a kernel of {} MiB", kernel >> 20);
    host.start(1, memory << 20).finish();
}

/// A gigabyte of it above the hole.
pub(crate) fn two_cpus(host: &Host) {
    host.start(2, 4 << 30).finish();
}

pub(crate) fn four_cpus(host: &Host) {
    host.start(4, 256 << 20).finish();
}

/// As much above the hole as below.
pub(crate) fn large_memory(host: &Host) {
    host.start(2, 6 << 30).finish();
}

/// A disk for each depth and way to keep writes, the guest does the rest.
pub(crate) fn random_io(host: &Host) {
    let base = NamedTempFile::new().unwrap();
    base.as_file().set_len(LARGE_DISK_SIZE).unwrap();
    let disks = [1, 4, 16].into_iter().flat_map(|depth| {
        [("in-memory", Writes::InMemory), ("in-file", in_file())]
            .map(|(kind, writes)| disk(base.path(), &format!("{kind}-{depth}"), writes))
    });
    let (mut machine, mut report) = host.launch(2, 256 << 20, disks.collect(), Vec::new());
    // A long run takes as long as it takes.
    report.get_ref().set_read_timeout(Some(LIMIT * 10)).unwrap();
    assert_eq!(next_line(&mut report), "done");
    stop(&mut *machine);
    // Not a byte of it has come to the base.
    let mut contents = Vec::new();
    File::open(base.path())
        .unwrap()
        .read_to_end(&mut contents)
        .unwrap();
    assert!(contents.into_iter().all(|byte| byte == 0));
}

/// A hundred ports: see the guest's half.
pub(crate) fn ports(host: &Host) {
    let names = (0..ECHO_PORTS).map(|number| format!("echo.{number}"));
    let names = names.chain(["gone".to_owned(), "late".to_owned()]);
    let (mut streams, ports): (Vec<_>, Vec<_>) = names
        .map(|name| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_read_timeout(Some(LIMIT)).unwrap();
            (ours, port(&name, theirs))
        })
        .unzip();
    let mut late = streams.pop().unwrap();
    let mut gone = streams.pop().unwrap();
    let (mut machine, mut report) = host.launch(1, 192 << 20, Vec::new(), ports);
    let mut sender = late.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let bytes: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        sender.write_all(&bytes).unwrap();
    });
    for (number, stream) in streams.iter_mut().enumerate() {
        let line = format!("line {number}\n");
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = vec![0; line.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, line.as_bytes());
    }
    assert_eq!(next_line(&mut report), "ready");
    gone.write_all(b"last words").unwrap();
    drop(gone);
    sending.join().unwrap();
    let mut thanks = [0; 6];
    late.read_exact(&mut thanks).unwrap();
    assert_eq!(&thanks, b"thanks");
    assert_eq!(next_line(&mut report), "done");
    stop(&mut *machine);
}

/// Memory that the guest frees is the host's again soon after, and the guest's when it needs it.
pub(crate) fn freed_memory(host: &Host) {
    let mut running = host.start(1, 512 << 20);
    running.expect("ready");
    let full = resident();
    assert!(full > FREED, "{full} bytes are less than the guest uses");
    running.data.write_all(b".").unwrap();
    running.expect("freed");
    let start = Instant::now();
    while resident() + FREED / 2 > full {
        let now = resident();
        assert!(
            start.elapsed() < LIMIT,
            "of {full} bytes, {now} are still taken"
        );
        thread::sleep(Duration::from_millis(500));
    }
    let (now, time) = (resident() >> 20, start.elapsed());
    println!(
        "{} MiB with the guest's memory in use, {now} MiB {time:.0?} later",
        full >> 20
    );
    running.data.write_all(b".").unwrap();
    running.finish();
}

/// The number of the only machine's process.
fn vmm() -> String {
    let children = children();
    assert_eq!(children.len(), 1, "{children:?}");
    children.into_iter().next().unwrap()
}

/// Bytes of the machine's memory that the host gave, the guest's among them.
fn resident() -> usize {
    let pages = fs::read_to_string(format!("/proc/{}/statm", vmm())).unwrap();
    let pages = pages.split_whitespace().nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

/// The guest has the host's time, also when the machine's process was stopped for a while. What its kernel lost
/// until it found its clock it lacks: it counts ticks by then, which an overloaded host does not give in time. No
/// guest-init makes up for that: it goes by the time since the kernel's start, which lacks the same.
pub(crate) fn clock(host: &Host) {
    let mut running = host.start(2, 192 << 20);
    running.expect("ready");
    let mut ask = |lacks: Duration| {
        let before = SystemTime::now();
        running.data.write_all(b"?").unwrap();
        let line = next_line(&mut running.report);
        let (time, elapsed) = line.split_once(' ').unwrap();
        let time = UNIX_EPOCH + Duration::from_millis(time.parse().unwrap());
        let tolerance = Duration::from_secs(1);
        assert!(
            time + lacks + tolerance > before,
            "{time:?} is before {before:?}"
        );
        let after = SystemTime::now();
        assert!(time < after + tolerance, "{time:?} is after {after:?}");
        let elapsed = Duration::from_millis(elapsed.parse().unwrap());
        (elapsed, before.duration_since(time).unwrap_or_default())
    };
    let (first, lacks) = ask(Duration::from_secs(10));
    let pause = Duration::from_secs(setting("TERRARIUM_TEST_PAUSE", 5));
    let vmm = Pid::from_raw(vmm().parse().unwrap()).unwrap();
    kill_process(vmm, Signal::STOP).unwrap();
    thread::sleep(pause);
    kill_process(vmm, Signal::CONT).unwrap();
    // Its monotonic clock went on as well.
    assert!(ask(lacks).0 >= first + pause);
    for _ in 0..20 {
        ask(lacks);
    }
    running.data.write_all(b".").unwrap();
    running.finish();
}

/// The guest sends back what it gets; in the meantime, each side waits for the other one.
pub(crate) fn stream(host: &Host) {
    const SIZE: usize = 8 << 20;
    let mut running = host.start(1, 128 << 20);
    running.expect("ready");
    let byte = |i: usize| u8::try_from((i ^ i >> 9) & 0xff).unwrap();
    let mut sender = running.data.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let bytes: Vec<u8> = (0..SIZE).map(byte).collect();
        sender.write_all(&bytes).unwrap();
    });
    // Long enough for everything between here and there to be full.
    thread::sleep(Duration::from_secs(1));
    assert!(!sending.is_finished());
    let mut bytes = vec![0; SIZE];
    if let Err(error) = running.data.read_exact(&mut bytes) {
        let exit = running.machine.exit();
        panic!("{error}; the machine's exit: {exit:?}");
    }
    assert!(bytes.into_iter().eq((0..SIZE).map(byte)));
    sending.join().unwrap();
    running.finish();
}

/// The guest turns its machine off.
pub(crate) fn ends(host: &Host) {
    ends_by(host, |exit| *exit == VmExit::Guest);
}

/// The guest starts its machine anew, or its kernel gives up: on x86_64 by a triple fault, as it was told to
/// (`reboot=t`), elsewhere by the firmware.
pub(crate) fn resets(host: &Host) {
    ends_by(host, |exit| match vmm::config::Arch::HOST {
        vmm::config::Arch::X86_64 => matches!(exit, VmExit::TripleFault { .. }),
        vmm::config::Arch::Aarch64 => *exit == VmExit::Guest,
    });
}

fn ends_by(host: &Host, is_expected: impl Fn(&VmExit) -> bool) {
    let mut running = host.start(2, 128 << 20);
    running.expect("ready");
    let exit = wait(&mut *running.machine, LIMIT);
    assert!(exit.as_ref().is_some_and(is_expected), "{exit:?}");
    // What was sent just before the end has arrived.
    running.expect("last words");
}

pub(crate) fn is_stopped(host: &Host) {
    let mut running = host.start(2, 128 << 20);
    running.expect("ready");
    stop(&mut *running.machine);
    assert_eq!(running.machine.exit(), None);
}

/// This program as `/init` with the libraries it is linked with, and the kernel's modules.
fn initramfs(kernel: &Kernel) -> Vec<u8> {
    let mut archive = Archive::new();
    for folder in ["/dev", "/proc", "/sys", "/lib", "/lib64", "/modules"] {
        archive = archive.directory(folder, 0o755);
    }
    archive = archive.character_device("/dev/console", 0o600, 5, 1).file(
        "/init",
        0o755,
        &loadable_part(&env::current_exe().unwrap()),
    );
    for library in libraries() {
        let name = library.file_name().unwrap().to_str().unwrap();
        // The loader's own path is fixed in the program.
        let folder = if name.starts_with("ld-") {
            "/lib64"
        } else {
            "/lib"
        };
        archive = archive.file(&format!("{folder}/{name}"), 0o755, &loadable_part(&library));
    }
    let modules = kernel.vmlinux().with_file_name("modules");
    let mut list = String::new();
    let mut names = kernel.modules_at_boot().unwrap();
    let balloon = "virtio_balloon".to_owned();
    if modules.join(format!("{balloon}.ko")).exists() && !names.contains(&balloon) {
        names.push(balloon);
    }
    for name in names {
        let path = format!("/modules/{name}.ko");
        let contents = fs::read(modules.join(format!("{name}.ko"))).unwrap();
        archive = archive.file(&path, 0o644, &contents);
        list.push_str(&path);
        list.push('\n');
    }
    archive
        .file("/modules.list", 0o644, list.as_bytes())
        .finish()
}

/// The shared libraries of this process.
fn libraries() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(PathBuf::from)
        .collect()
}

/// An ELF file without what is behind its last loaded segment: debugging information.
fn loadable_part(path: &Path) -> Vec<u8> {
    let mut elf = fs::read(path).unwrap();
    let word = |at: usize| {
        let bytes = elf[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    let half = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
    let (table, size, count) = (word(0x20), half(0x36), half(0x38));
    let end = (0..count)
        .map(|index| table + index * size)
        .map(|header| word(header + 8) + word(header + 32))
        .max()
        .unwrap();
    elf.truncate(end);
    // No section headers.
    elf[0x28..0x30].fill(0);
    elf[0x3a..0x40].fill(0);
    elf
}
