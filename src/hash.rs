//! Hashing for tables in memory: quick, keyed where clients choose the keys, and the same in every
//! run where the seed is. Nothing here is ever written to disk or sent.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// An odd constant with well-spread bits (2⁶⁴ divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The secret that keys every hash of names which clients choose, so that nobody can aim for
/// collisions. Random in production, fixed in tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seed(pub u64, pub u64);

impl BuildHasher for Seed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.0 ^ self.1.rotate_left(32), key: self.1 ^ SPREAD }
    }
}

/// A map keyed by ids that servers give out: no secret needed.
pub type IdMap<K, V> = HashMap<K, V, Seed>;

/// Folds the input, eight bytes at a time, by a 64 × 64 → 128 bit multiplication with a secret
/// and the exclusive or of the product's halves.
#[derive(Debug, Clone)]
pub struct Folded {
    state: u64,
    key: u64,
}

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key | 1);
        self.state = (product as u64) ^ ((product >> 64) as u64) ^ SPREAD;
    }
}

/// At most seven bytes as a little-endian number. Loads of a fixed size, which may overlap, are
/// quicker than a copy of any length.
fn tail(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
            first | last >> (8 * (8 - bytes.len())) << 32
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.fold(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        // The length keeps "a" and "a\0" apart.
        self.fold(tail(words.remainder()) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, v: u8) {
        self.fold(u64::from(v));
    }

    fn write_u32(&mut self, v: u32) {
        self.fold(u64::from(v));
    }

    fn write_u64(&mut self, v: u64) {
        self.fold(v);
    }

    fn write_i64(&mut self, v: i64) {
        self.fold(v as u64);
    }

    fn finish(&self) -> u64 {
        // One more round with another multiplier, so that the high bits depend on all input.
        let product = u128::from(self.state) * u128::from(SPREAD);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_spread_over_the_buckets() {
        for seed in [Seed::default(), Seed(7, 1 << 63), Seed(u64::MAX, u64::MAX)] {
            let mut buckets = [[0u32; 1024]; 2];
            for i in 0..65_536u32 {
                let hash = seed.hash_one(format!("node-{i:08}").as_bytes());
                buckets[0][(hash >> 54) as usize] += 1;
                buckets[1][(hash & 1023) as usize] += 1;
            }
            // 64 each on average; a good hash strays by a few standard deviations (8) at most.
            for (i, n) in buckets.iter().flatten().enumerate() {
                assert!((20..130).contains(n), "{seed:?} bucket {i}: {n}");
            }
        }
    }

    #[test]
    fn ids_in_a_row_spread_too() {
        let mut buckets = [0u32; 256];
        (0..16_384i64).for_each(|i| buckets[(Seed::default().hash_one(i) & 255) as usize] += 1);
        assert!(buckets.iter().all(|n| (20..130).contains(n)), "{buckets:?}");
    }

    #[test]
    fn a_tail_is_a_little_endian_number() {
        let bytes = [0x11, 0x82, 0x93, 0xa4, 0xb5, 0xc6, 0xd7, 0];
        for n in 0..8 {
            let mut padded = [0; 8];
            padded[..n].copy_from_slice(&bytes[..n]);
            assert_eq!(tail(&bytes[..n]), u64::from_le_bytes(padded));
        }
    }

    #[test]
    fn length_matters() {
        let seed = Seed(1, 2);
        assert_ne!(seed.hash_one(b"a".as_slice()), seed.hash_one(b"a\0".as_slice()));
    }
}
