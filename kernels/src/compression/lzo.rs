//! LZO1X, and the container of `lzop` around it, which kernels are compressed with.
//!
//! No maintained crate reads it safely, so it is read here: the stream as the kernel's
//! `Documentation/staging/lzo.rst` describes it, the container as its `lib/decompress_unlzo.c` does.

use std::io;

/// Begins a file of lzop.
pub(super) const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];

/// The first version of lzop whose headers have the fields of today's.
const VERSION: u16 = 0x0940;
/// Header flag: a filter's number follows.
const HAS_FILTER: u32 = 0x800;
/// Header flags: each block has a checksum of its inflated bytes (Adler-32 or CRC-32), of its
/// compressed bytes (the same two).
const INFLATED_CHECKSUMS: [u32; 2] = [0x1, 0x100];
const COMPRESSED_CHECKSUMS: [u32; 2] = [0x2, 0x200];
/// The largest block, inflated, in bytes: what lzop itself accepts.
const MAX_BLOCK: usize = 64 << 20;

/// Inflates a file of lzop, or as much of it as gives `limit` bytes.
pub(super) fn inflate(file: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    read_file(file, limit)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "Damaged lzop file"))
}

fn read_file(file: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut input = Input {
        bytes: file.strip_prefix(&MAGIC)?,
    };
    let flags = read_header(&mut input)?;
    let has = |checksums: [u32; 2]| {
        checksums
            .into_iter()
            .filter(|flag| flags & flag != 0)
            .count()
    };

    let mut output = Vec::new();
    while output.len() < limit {
        let inflated = usize::try_from(input.word()?).ok()?;
        if inflated == 0 {
            break;
        }
        let compressed = usize::try_from(input.word()?).ok()?;
        if inflated > MAX_BLOCK || compressed > inflated {
            return None;
        }
        input.take(4 * has(INFLATED_CHECKSUMS))?;
        // A block that does not shrink is stored, without a second checksum.
        if compressed == inflated {
            output.extend_from_slice(input.take(inflated)?);
        } else {
            input.take(4 * has(COMPRESSED_CHECKSUMS))?;
            let block = inflate_block(input.take(compressed)?, inflated)?;
            output.extend_from_slice(&block);
        }
    }
    output.truncate(limit);
    Some(output)
}

/// Reads what is between the magic and the first block, and gives the flags.
fn read_header(input: &mut Input<'_>) -> Option<u32> {
    let version = input.take(2)?.try_into().ok().map(u16::from_be_bytes)?;
    if version < VERSION {
        return None;
    }
    // Versions of the library and of the reader needed; method and level.
    input.take(2 + 2 + 1 + 1)?;
    let flags = input.word()?;
    if flags & HAS_FILTER != 0 {
        input.take(4)?;
    }
    // Mode and both halves of the time; then the name, its length first, and the checksum.
    input.take(4 + 4 + 4)?;
    let name = input.byte()?;
    input.take(usize::from(name))?;
    input.take(4)?;
    Some(flags)
}

/// Inflates one LZO1X block to exactly `length` bytes.
fn inflate_block(block: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut input = Input { bytes: block };
    let mut output = Output {
        bytes: Vec::with_capacity(length),
        limit: length,
    };
    // Literals copied by the instruction before; 4 stands for 4 or more.
    let mut state = 0;
    if *block.first()? >= 18 {
        let literals = usize::from(input.byte()? - 17);
        output.literals(&mut input, literals)?;
        state = literals.min(4);
    }
    loop {
        let instruction = usize::from(input.byte()?);
        // How far back the match begins, its length, and a number whose low bits say how many
        // literals follow it.
        let (distance, count, next) = match instruction {
            0..16 if state == 0 => {
                let literals = input.length(instruction, 15)? + 3;
                output.literals(&mut input, literals)?;
                state = 4;
                continue;
            }
            0..16 => {
                let distance = (usize::from(input.byte()?) << 2) + (instruction >> 2) + 1;
                match state {
                    4 => (distance + 2048, 3, instruction),
                    _ => (distance, 2, instruction),
                }
            }
            16..32 => {
                let count = input.length(instruction & 7, 7)? + 2;
                let low = input.half_word()?;
                let distance = 0x4000 + ((instruction & 8) << 11) + (low >> 2);
                if distance == 0x4000 {
                    // The end of the stream.
                    return (output.bytes.len() == length).then_some(output.bytes);
                }
                (distance, count, low)
            }
            32..64 => {
                let count = input.length(instruction & 31, 31)? + 2;
                let low = input.half_word()?;
                ((low >> 2) + 1, count, low)
            }
            _ => {
                let count = match instruction {
                    ..128 => 3 + (instruction >> 5 & 1),
                    _ => 5 + (instruction >> 5 & 3),
                };
                let distance = (usize::from(input.byte()?) << 3) + (instruction >> 2 & 7) + 1;
                (distance, count, instruction)
            }
        };
        output.repeat(distance, count)?;
        state = next & 3;
        output.literals(&mut input, state)?;
    }
}

/// Compressed bytes not read yet. Every method gives `None` at their end.
struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    /// Little-endian, as in a stream.
    fn half_word(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(bytes[0]) | usize::from(bytes[1]) << 8)
    }

    /// Big-endian, as in the container.
    fn word(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A length: `bits` of the instruction, or if they are zero `longest` and the bytes that follow,
    /// of which each zero stands for 255 and the first other one ends the length.
    fn length(&mut self, bits: usize, longest: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut length = longest;
        loop {
            match self.byte()? {
                0 => length += 255,
                last => return Some(length + usize::from(last)),
            }
        }
    }
}

/// Inflated bytes, at most `limit`.
struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    fn room_for(&self, count: usize) -> Option<()> {
        (count <= self.limit - self.bytes.len()).then_some(())
    }

    fn literals(&mut self, input: &mut Input<'_>, count: usize) -> Option<()> {
        self.room_for(count)?;
        self.bytes.extend_from_slice(input.take(count)?);
        Some(())
    }

    /// Repeats what began `distance` bytes ago; the repetition may overlap itself.
    fn repeat(&mut self, distance: usize, count: usize) -> Option<()> {
        self.room_for(count)?;
        let start = self.bytes.len().checked_sub(distance)?;
        for index in start..start + count {
            self.bytes.push(self.bytes[index]);
        }
        Some(())
    }
}
