//! Random I/O that checks itself: blocks that say where they belong and when they were written, read
//! back at once and at the end, past the kernel's cache, by several threads at a time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

/// The unit of writes, and what a checksummed block has.
const BLOCK: usize = 4096;
/// Most blocks of one operation.
const MAX_BLOCKS: usize = 32;
/// What `O_DIRECT` wants buffers to begin at.
const ALIGNMENT: usize = 4096;

/// Marsaglia's xorshift.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// What stands in a block after it was written for the `generation`th time; zeroes before.
fn fill(block: &mut [u8], number: usize, generation: u32) {
    if generation == 0 {
        block.fill(0);
        return;
    }
    let number = u64::try_from(number).unwrap();
    let mut word = (number << 32 | u64::from(generation)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for bytes in block.chunks_exact_mut(8) {
        bytes.copy_from_slice(&word.to_le_bytes());
        word = word.rotate_left(7).wrapping_add(number);
    }
}

/// A buffer that begins where `O_DIRECT` wants it to.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let bytes = vec![0; MAX_BLOCKS * BLOCK + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start }
    }

    fn of(&mut self, blocks: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..blocks * BLOCK]
    }
}

/// Writes and reads `count` times by each of `depth` threads, each in a share of the disk of its own,
/// and checks all of the disk at the end. The disk must be zeroes at first.
pub(crate) fn check(path: &Path, size: u64, depth: usize, count: usize) {
    let share = usize::try_from(size).unwrap() / BLOCK / depth;
    let workers: Vec<_> = (0..depth)
        .map(|worker| {
            let path = path.to_owned();
            thread::spawn(move || work(&open(&path), worker * share, share, count))
        })
        .collect();
    let file = open(path);
    let mut buffer = Buffer::new();
    for (worker, handle) in workers.into_iter().enumerate() {
        let generations = handle.join().unwrap();
        for (index, generations) in generations.chunks(MAX_BLOCKS).enumerate() {
            let first = worker * share + index * MAX_BLOCKS;
            compare(&file, &mut buffer, first, generations);
        }
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap()
}

/// One thread's work. Returns how often each of its blocks was written.
fn work(file: &File, first: usize, share: usize, count: usize) -> Vec<u32> {
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::try_from(first).unwrap() << 17 | 1);
    let mut buffer = Buffer::new();
    let mut generations = vec![0_u32; share];
    for round in 0..count {
        let index = random.below(share);
        let blocks = 1 + random.below(MAX_BLOCKS.min(share - index));
        let range = index..index + blocks;
        if random.below(3) == 0 {
            compare(file, &mut buffer, first + index, &generations[range]);
            continue;
        }
        let bytes = buffer.of(blocks);
        for (offset, block) in bytes.chunks_exact_mut(BLOCK).enumerate() {
            generations[index + offset] += 1;
            fill(block, first + index + offset, generations[index + offset]);
        }
        file.write_all_at(bytes, place(first + index)).unwrap();
        if round % 16 == 0 {
            file.sync_data().unwrap();
        }
        compare(file, &mut buffer, first + index, &generations[range]);
    }
    generations
}

fn compare(file: &File, buffer: &mut Buffer, first: usize, generations: &[u32]) {
    let bytes = buffer.of(generations.len());
    file.read_exact_at(bytes, place(first)).unwrap();
    let mut expected = [0; BLOCK];
    for (offset, block) in bytes.chunks_exact(BLOCK).enumerate() {
        fill(&mut expected, first + offset, generations[offset]);
        assert!(
            *block == expected,
            "block {} is not what was written the {}th time, but begins with {:x?}",
            first + offset,
            generations[offset],
            &block[..16]
        );
    }
}

fn place(block: usize) -> u64 {
    u64::try_from(block * BLOCK).unwrap()
}
