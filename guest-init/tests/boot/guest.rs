//! A running guest, seen from the host's ends of its ports.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use guest_init::control::{
    ExitStatus, FailureKind, FrameReader, GuestMessage, HostMessage, encode,
};
use guest_init::ports::{CONTROL, STDERR, STDIO};
use guest_init::spec::{FileSystemDisk, RunSpec};
use kernels::cpio::Archive;
use kernels::{BootOptions, Discovery};
use vmm::backend::qemu::{Accelerator, Qemu};
use vmm::config::{Arch, Disk as VmDisk, InitramfsPart, Port, Writes};
use vmm::{Backend, Machine, VmConfig};

use crate::image::Disk;
use crate::inputs;

/// An emulated machine on a busy host is slow; a guest that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A specification that runs `argv` as root.
pub(crate) fn run<const N: usize>(argv: [&str; N]) -> RunSpec {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    RunSpec {
        root: FileSystemDisk {
            serial: b"root".to_vec(),
            file_system: b"ext4".to_vec(),
            read_only: false,
        },
        argv: argv.map(|argument| argument.as_bytes().to_vec()).to_vec(),
        hostname: b"box".to_vec(),
        wall_clock_ns: u64::try_from(since_1970.unwrap().as_nanos()).unwrap(),
        ..RunSpec::default()
    }
}

/// A specification that runs a shell script.
pub(crate) fn shell(script: &str) -> RunSpec {
    run(["sh", "-c", script])
}

/// How a run ended, with all that came out of it.
#[derive(Debug)]
pub(crate) struct End {
    /// The exit status, or why there is none.
    pub(crate) status: Result<ExitStatus, (FailureKind, String)>,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
}

impl End {
    /// Standard output as text, of a command that returned 0 and wrote nothing to standard error.
    pub(crate) fn text(self) -> String {
        assert_eq!(
            (&self.status, String::from_utf8_lossy(&self.stderr).as_ref()),
            (&Ok(ExitStatus::Code(0)), ""),
            "with standard output {}",
            String::from_utf8_lossy(&self.stdout)
        );
        String::from_utf8(self.stdout).unwrap()
    }
}

/// A guest. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Guest {
    machine: Box<dyn Machine>,
    /// The host's end of the control port.
    pub(crate) control: UnixStream,
    reader: FrameReader,
    /// The host's end of standard input and output.
    pub(crate) stdio: UnixStream,
    /// The host's end of standard error.
    pub(crate) stderr: UnixStream,
}

impl Guest {
    /// Boots a guest from `disk`, with writes kept in memory.
    pub(crate) fn boot(spec: &RunSpec, disk: &Disk) -> Self {
        Self::boot_with(&spec.encode().unwrap(), disk, Writes::InMemory)
    }

    /// Boots a guest whose specification may be none.
    pub(crate) fn boot_with(spec: &[u8], disk: &Disk, writes: Writes) -> Self {
        let kernel = inputs::kernel();
        let options = BootOptions {
            serial: true,
            ..BootOptions::default()
        };
        let run = Archive::new()
            .file(guest_init::spec::PATH, 0o600, spec)
            .finish();
        let initramfs = kernel
            .initramfs(&inputs::guest_init(), &inputs::guest_init_version())
            .unwrap();
        let mut ours = Vec::new();
        let ports = [CONTROL, STDIO, STDERR].map(|name| {
            let (our_end, stream) = UnixStream::pair().unwrap();
            ours.push(our_end);
            Port {
                name: name.to_owned(),
                stream,
            }
        });
        let config = VmConfig {
            arch: Arch::HOST,
            vcpus: 1,
            memory: 192 << 20,
            kernel: kernel.vmlinux(),
            initramfs: vec![InitramfsPart::File(initramfs), InitramfsPart::Bytes(run)],
            kaslr: kernel.can_be_moved(),
            command_line: kernel.boot_arguments(&options).join(" "),
            discovery: match kernel.discovery() {
                Discovery::CommandLine => vmm::config::Discovery::CommandLine,
                Discovery::Acpi => vmm::config::Discovery::Acpi,
                Discovery::DeviceTree => vmm::config::Discovery::DeviceTree,
            },
            disks: vec![VmDisk {
                path: disk.path().to_owned(),
                serial: "root".to_owned(),
                writes,
            }],
            ports: ports.into(),
            balloon: false,
            serial: Some(std::io::stderr().as_fd().try_clone_to_owned().unwrap()),
            sandbox: true,
            stats: false,
        };
        let machine = Qemu::find(Arch::HOST, Accelerator::Tcg)
            .unwrap()
            .start(config)
            .unwrap();
        let [control, stdio, stderr] = ours.try_into().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            machine,
            control,
            reader: FrameReader::default(),
            stdio,
            stderr,
        }
    }

    /// Boots a guest and waits for its command to be started.
    pub(crate) fn start(spec: &RunSpec, disk: &Disk) -> Self {
        let mut guest = Self::boot(spec, disk);
        let ready = guest.message();
        assert!(matches!(ready, GuestMessage::Ready { .. }), "{ready:?}");
        let started = guest.message();
        assert!(
            matches!(started, GuestMessage::Started { .. }),
            "{started:?}"
        );
        guest
    }

    /// The next control message.
    pub(crate) fn message(&mut self) -> GuestMessage {
        loop {
            if let Some(message) = self.reader.next_message().unwrap() {
                return message;
            }
            let mut bytes = [0; 512];
            match self.control.read(&mut bytes) {
                Ok(0) => panic!("The guest stopped: {:?}", self.wait_stopped()),
                Ok(length) => self.reader.push(&bytes[..length]),
                Err(error) => panic!("No word from the guest: {error}"),
            }
        }
    }

    /// Sends a control message.
    pub(crate) fn tell(&mut self, message: &HostMessage) {
        self.control.write_all(&encode(message).unwrap()).unwrap();
    }

    /// Waits for the command to end, whatever its output.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        match self.message() {
            GuestMessage::Exited { status, .. } => status,
            other => panic!("{other:?}"),
        }
    }

    /// Reads both outputs to the length that the guest announces with the end.
    pub(crate) fn end(mut self) -> End {
        let stdout = Collector::start(&self.stdio);
        let stderr = Collector::start(&self.stderr);
        let message = loop {
            match self.message() {
                GuestMessage::Ready { .. } | GuestMessage::Started { .. } => {}
                last => break last,
            }
        };
        let (status, stdout_bytes, stderr_bytes) = match message {
            GuestMessage::Exited {
                status,
                stdout_bytes,
                stderr_bytes,
            } => (Ok(status), stdout_bytes, stderr_bytes),
            GuestMessage::Failed { kind, message } => (Err((kind, message)), 0, 0),
            other => panic!("{other:?}"),
        };
        End {
            status,
            stdout: stdout.finish(stdout_bytes),
            stderr: stderr.finish(stderr_bytes),
        }
    }

    /// Waits for the machine to stop by itself.
    pub(crate) fn wait_stopped(&mut self) -> vmm::VmExit {
        let begun = Instant::now();
        loop {
            if let Some(exit) = self.machine.exit() {
                return exit;
            }
            assert!(begun.elapsed() < PATIENCE, "The machine does not stop");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Boots a guest, runs its command to the end, and returns how that was.
pub(crate) fn finish(spec: &RunSpec, disk: &Disk) -> End {
    Guest::boot(spec, disk).end()
}

/// Reads a stream beside everything else, so that nothing waits for it.
#[derive(Debug)]
pub(crate) struct Collector(Arc<Mutex<Vec<u8>>>);

impl Collector {
    /// Starts to read all that comes, until the machine is gone.
    pub(crate) fn start(stream: &UnixStream) -> Self {
        let mut stream = stream.try_clone().unwrap();
        let collected = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&collected);
        thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                shared.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Self(collected)
    }

    /// Waits until what has come satisfies `enough`.
    pub(crate) fn until(&self, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            let collected = self.0.lock().unwrap().clone();
            if enough(&collected) {
                return collected;
            }
            let shown = String::from_utf8_lossy(&collected[..collected.len().min(1000)]);
            assert!(begun.elapsed() < PATIENCE, "No more than {shown}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for `bytes` in all, which must be everything there is.
    fn finish(&self, bytes: u64) -> Vec<u8> {
        let bytes = usize::try_from(bytes).unwrap();
        let collected = self.until(|collected| collected.len() >= bytes);
        assert_eq!(collected.len(), bytes, "More output than announced");
        collected
    }
}
