//! Bytes that are nearly right: what tests of hostile input share.

/// xorshift64*: the same inputs in every run.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Flips bits, plants boundary values, cuts, doubles and splices.
    pub fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => bytes.splice(at..at, [0xff; 4]).for_each(drop),
                3 if bytes.len() >= at + 4 => {
                    let value = [-1, -2, 0, 1, i32::MAX, i32::MIN, 1 << 20][self.below(7)];
                    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                }
                4 => bytes.extend_from_within(at..),
                _ => bytes.push(self.next() as u8),
            }
        }
        bytes
    }
}
