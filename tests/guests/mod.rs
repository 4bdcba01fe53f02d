//! Guests that misbehave on purpose, without an operating system: each is a list of steps, and a few
//! instructions that take them.

pub(crate) mod hostile;

/// Where the kernel is loaded, and where in it the steps are.
const CODE: u64 = 0x10_0000;
const STEPS: u64 = CODE + 0x100;

/// The registers of the first device; those of the next ones follow.
const DEVICES: u64 = 0xd000_0000;
const DEVICE_STRIDE: u64 = 0x1000;

/// Takes the steps: 16 bytes each, with what to do (4 bytes), a value (4) and an address (8).
const STEPPER: &[u8] = &[
    // Maps 2 MiB with the devices' registers one to one, by a table at 0x3000 below the page tables
    // that the machine starts with.
    0xb8, 0x03, 0x30, 0x00, 0x00, // mov eax, 0x3003
    0x48, 0x89, 0x04, 0x25, 0x18, 0xa0, 0x00, 0x00, // mov [0xa018], rax
    0xb8, 0x83, 0x00, 0x00, 0xd0, // mov eax, 0xd0000083
    0x48, 0x89, 0x04, 0x25, 0x00, 0x34, 0x00, 0x00, // mov [0x3400], rax
    0xbe, 0x00, 0x01, 0x10, 0x00, // mov esi, 0x100100
    // next:
    0x8b, 0x06, // mov eax, [rsi]
    0x8b, 0x4e, 0x04, // mov ecx, [rsi+4]
    0x48, 0x8b, 0x7e, 0x08, // mov rdi, [rsi+8]
    0x48, 0x83, 0xc6, 0x10, // add rsi, 16
    0xff, 0xc8, 0x78, 0x20, // dec eax; js write32
    0xff, 0xc8, 0x78, 0x20, // dec eax; js write16
    0xff, 0xc8, 0x78, 0x21, // dec eax; js add16
    0xff, 0xc8, 0x78, 0x22, // dec eax; js goto
    0xff, 0xc8, 0x78, 0x23, // dec eax; js port
    0xff, 0xc8, 0x78, 0x26, // dec eax; js until_set
    0xff, 0xc8, 0x78, 0x2a, // dec eax; js until_is
    0xff, 0xc8, 0x78, 0x2d, // dec eax; js pause
    0xfa, 0xf4, 0xeb, 0xfc, // halt: cli; hlt; jmp halt
    0x89, 0x0f, 0xeb, 0xcb, // write32: mov [rdi], ecx; jmp next
    0x66, 0x89, 0x0f, 0xeb, 0xc6, // write16: mov [rdi], cx; jmp next
    0x66, 0x01, 0x0f, 0xeb, 0xc1, // add16: add [rdi], cx; jmp next
    0x48, 0x89, 0xfe, 0xeb, 0xbc, // goto: mov rsi, rdi; jmp next
    0x89, 0xfa, 0x89, 0xc8, 0xee, 0xeb,
    0xb5, // port: mov edx, edi; mov eax, ecx; out dx, al; jmp next
    0x8b, 0x07, 0x85, 0xc8, 0x74, 0xfa, 0xeb,
    0xad, // until_set: mov eax, [rdi]; test eax, ecx;
    // jz until_set; jmp next
    0x66, 0x39, 0x0f, 0x75, 0xfb, 0xeb,
    0xa6, // until_is: cmp [rdi], cx; jne until_is; jmp next
    0xff, 0xc9, 0x75, 0xfc, 0xeb, 0xa0, // pause: dec ecx; jnz pause; jmp next
];

/// A queue's rings in guest memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rings {
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
}

impl Rings {
    /// Apart from each other, for queues of up to 256 places.
    pub(crate) const fn at(address: u64) -> Self {
        Self {
            descriptors: address,
            available: address + 0x1000,
            used: address + 0x2000,
        }
    }
}

/// A descriptor: address, length, flags, and the next one.
pub(crate) type Descriptor = (u64, u32, u16, u16);

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Steps of a guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program(Vec<u8>);

impl Program {
    /// The program with what takes its steps, to be loaded at [`CODE`].
    pub(crate) fn kernel(&self) -> Vec<u8> {
        let mut kernel = STEPPER.to_vec();
        kernel.resize(usize::try_from(STEPS - CODE).unwrap(), 0);
        kernel.extend_from_slice(&self.0);
        // Behind the last step, the guest halts with interrupts off.
        kernel.extend_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        kernel
    }

    fn step(mut self, kind: u32, address: u64, value: u32) -> Self {
        self.0.extend_from_slice(&kind.to_le_bytes());
        self.0.extend_from_slice(&value.to_le_bytes());
        self.0.extend_from_slice(&address.to_le_bytes());
        self
    }

    /// Where the next step will be.
    pub(crate) fn here(&self) -> u64 {
        STEPS + u64::try_from(self.0.len()).unwrap()
    }

    pub(crate) fn write32(self, address: u64, value: u32) -> Self {
        self.step(0, address, value)
    }

    pub(crate) fn write16(self, address: u64, value: u16) -> Self {
        self.step(1, address, value.into())
    }

    pub(crate) fn add16(self, address: u64, value: u16) -> Self {
        self.step(2, address, value.into())
    }

    pub(crate) fn goto(self, step: u64) -> Self {
        self.step(3, step, 0)
    }

    /// Writes a byte to an I/O port.
    pub(crate) fn port(self, port: u16, value: u8) -> Self {
        self.step(4, port.into(), value.into())
    }

    /// Waits until one of the bits is set.
    pub(crate) fn until_set(self, address: u64, bits: u32) -> Self {
        self.step(5, address, bits)
    }

    /// Waits until the half word has this value.
    pub(crate) fn until_is(self, address: u64, value: u16) -> Self {
        self.step(6, address, value.into())
    }

    /// Counts.
    pub(crate) fn pause(self, count: u32) -> Self {
        self.step(7, 0, count)
    }

    /// Says on the serial port that it came this far.
    pub(crate) fn arrive(self) -> Self {
        self.port(0x3f8, b'.')
    }

    /// Ends the machine by the keyboard controller.
    pub(crate) fn end(self) -> Self {
        self.port(0x64, 0xfe)
    }

    pub(crate) fn register(self, device: u64, register: u64, value: u32) -> Self {
        self.write32(DEVICES + device * DEVICE_STRIDE + register, value)
    }

    pub(crate) fn notify(self, device: u64, queue: u32) -> Self {
        self.register(device, 0x50, queue)
    }

    pub(crate) fn reset(self, device: u64) -> Self {
        self.register(device, 0x70, 0)
    }

    /// Begins with a device as a driver should: reset, features, queues (number, size, rings), ready.
    pub(crate) fn start(
        mut self,
        device: u64,
        features: u32,
        queues: &[(u32, u32, Rings)],
    ) -> Self {
        for status in [0, 1, 3] {
            self = self.register(device, 0x70, status);
        }
        // VIRTIO_F_VERSION_1 is bit 32.
        for (select, half) in [(0, features), (1, 1)] {
            self = self
                .register(device, 0x24, select)
                .register(device, 0x20, half);
        }
        self = self.register(device, 0x70, 11);
        for &(number, size, rings) in queues {
            self = self
                .register(device, 0x30, number)
                .register(device, 0x38, size);
            for (register, address) in [
                (0x80, rings.descriptors),
                (0x90, rings.available),
                (0xa0, rings.used),
            ] {
                let low = u32::try_from(address & 0xffff_ffff).unwrap();
                self = self.register(device, register, low).register(
                    device,
                    register + 4,
                    u32::try_from(address >> 32).unwrap(),
                );
            }
            self = self.register(device, 0x44, 1);
        }
        self.register(device, 0x70, 15)
    }

    pub(crate) fn describe(
        self,
        rings: Rings,
        index: u16,
        (address, length, flags, next): Descriptor,
    ) -> Self {
        let at = rings.descriptors + u64::from(index) * 16;
        self.write32(at, u32::try_from(address & 0xffff_ffff).unwrap())
            .write32(at + 4, u32::try_from(address >> 32).unwrap())
            .write32(at + 8, length)
            .write32(at + 12, u32::from(flags) | u32::from(next) << 16)
    }

    /// Puts heads into the available ring from its start on.
    pub(crate) fn offer(mut self, rings: Rings, heads: &[u16]) -> Self {
        for (place, &head) in (0..).zip(heads) {
            self = self.write16(rings.available + 4 + place * 2, head);
        }
        self.write16(rings.available + 2, u16::try_from(heads.len()).unwrap())
    }

    /// Waits until the device says that it needs a reset.
    pub(crate) fn until_broken(self, device: u64) -> Self {
        self.until_set(DEVICES + device * DEVICE_STRIDE + 0x70, 0x40)
    }

    /// Waits until the device has finished so many requests in all.
    pub(crate) fn until_used(self, rings: Rings, count: u16) -> Self {
        self.until_is(rings.used + 2, count)
    }
}
