//! The hash by which directories are indexed: `half_md4` over bytes taken as unsigned
//! (Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories").

/// What the hashes of one file system start from.
pub(super) type Seed = [u32; 4];

/// The highest hash; the one above it marks the end of a directory.
const LAST: u32 = 0xffff_fffc;

/// The hash of a name. Its lowest bit is 0: the index uses it.
pub(super) fn hash(name: &[u8], seed: Seed) -> u32 {
    let mut state = seed;
    for start in (0..name.len()).step_by(32) {
        transform(&mut state, words(&name[start..]));
    }
    (state[1] & !1).min(LAST)
}

/// The next 32 bytes as words, padded with their number.
fn words(name: &[u8]) -> [u32; 8] {
    // A name has 255 bytes at most.
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let pad = length | length << 8;
    let pad = pad | pad << 16;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add(u32::from(byte));
        }
    }
    words
}

/// Three rounds of eight steps, each over the words in an order of its own.
fn transform(state: &mut Seed, words: [u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (
            |x, y, z| z ^ (x & (y ^ z)),
            0,
            [0, 1, 2, 3, 4, 5, 6, 7],
            [3, 7, 11, 19],
        ),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5a82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ed9_eba1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in ROUNDS {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(words[word])
                .wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (word, value) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(value);
    }
}
