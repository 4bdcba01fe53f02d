//! The host's half: makes the machines and watches them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use kernels::cpio::Archive;
use kernels::{Arch, BootOptions, Kernel, Store};
use tempfile::NamedTempFile;
use vmm::backend::kvm::Kvm;
use vmm::config::{Discovery, Disk, InitramfsPart, Port, Writes};
use vmm::{Backend, Machine, VmConfig, VmExit};

use crate::guest::{DISK_SIZE, disk_byte};
use crate::support::{stop, wait};

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
        let (report, report_port) = UnixStream::pair().unwrap();
        let (data, data_port) = UnixStream::pair().unwrap();
        let (console, serial) = UnixStream::pair().unwrap();
        let port = |name: &str, stream| Port {
            name: name.into(),
            stream,
        };
        let mut base = NamedTempFile::new().unwrap();
        let contents: Vec<u8> = (0..DISK_SIZE).map(disk_byte).collect();
        base.write_all(&contents).unwrap();
        let disk = |serial: &str, writes| Disk {
            path: base.path().into(),
            serial: serial.into(),
            writes,
        };
        let mut arguments = self.kernel.boot_arguments(&BootOptions {
            serial: true,
            ..BootOptions::default()
        });
        arguments.push(format!("scenario={} vcpus={vcpus}", self.scenario));
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
            disks: vec![
                disk("writable", Writes::InMemory),
                disk("read-only", Writes::Refused),
            ],
            ports: vec![
                port("test.report", report_port),
                port("test.data", data_port),
            ],
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
        data.set_read_timeout(Some(LIMIT)).unwrap();
        data.set_write_timeout(Some(LIMIT)).unwrap();
        Running {
            machine: machine.unwrap(),
            report: BufReader::new(report),
            data,
            base,
        }
    }
}

impl Running {
    /// Waits for the guest's next line.
    fn expect(&mut self, expected: &str) {
        let mut line = String::new();
        self.report.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
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

pub(crate) fn four_cpus(host: &Host) {
    host.start(4, 256 << 20).finish();
}

/// More than fits below the hole.
pub(crate) fn large_memory(host: &Host) {
    host.start(2, 5 << 30).finish();
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
    running.data.read_exact(&mut bytes).unwrap();
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
    for name in kernel.modules_at_boot().unwrap() {
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
