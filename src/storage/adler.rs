//! Adler-32, the checksum of logs and snapshots (RFC 1950), at several bytes a cycle: in lanes that
//! the compiler turns into vectors. Java: `java.util.zip.Adler32`.

const MODULUS: u64 = 65_521;
const LANES: usize = 16;
/// Rows of bytes that sums of 16 bits hold: 255 × (0 + 1 + … + 21) is less than 2¹⁶.
const SHORT_ROWS: usize = 22;
/// Rows of bytes that sums of 32 bits hold: 255 × 4095 × 4096 / 2 is less than 2³².
const ROWS: usize = 4096;
const BLOCK: usize = ROWS * LANES;

/// The checksum of what was written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adler32 {
    /// 1 and the sum of all bytes.
    sum: u64,
    /// The sum of all values that `sum` had after each byte.
    sums: u64,
}

impl Adler32 {
    pub const fn new() -> Self {
        Self { sum: 1, sums: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        bytes.chunks(BLOCK).for_each(|block| self.write_block(block));
    }

    pub fn checksum(&self) -> u32 {
        (self.sums << 16 | self.sum) as u32
    }

    fn write_block(&mut self, block: &[u8]) {
        let (rows, tail) = block.as_chunks::<LANES>();
        // Of each lane: the sum of its bytes, and the sum of what that was before each row.
        let (mut sum, mut before) = ([0u32; LANES], [0u32; LANES]);
        for rows in rows.chunks(SHORT_ROWS) {
            let (short_sum, short_before) = short_sums(rows);
            for lane in 0..LANES {
                before[lane] += sum[lane] * rows.len() as u32 + u32::from(short_before[lane]);
                sum[lane] += u32::from(short_sum[lane]);
            }
        }
        self.sums += self.sum * (rows.len() * LANES) as u64;
        for (lane, (sum, before)) in sum.into_iter().zip(before).enumerate() {
            self.sum += u64::from(sum);
            // A byte counts once for itself and once for each byte behind it.
            self.sums += LANES as u64 * u64::from(before) + (LANES - lane) as u64 * u64::from(sum);
        }
        for byte in tail {
            self.sum += u64::from(*byte);
            self.sums += self.sum;
        }
        self.sum %= MODULUS;
        self.sums %= MODULUS;
    }
}

/// As in [`Adler32::write_block`], of at most [`SHORT_ROWS`].
fn short_sums(rows: &[[u8; LANES]]) -> ([u16; LANES], [u16; LANES]) {
    let (mut sum, mut before) = ([0u16; LANES], [0u16; LANES]);
    for row in rows {
        // Two loops, or the compiler does not see the vectors.
        for lane in 0..LANES {
            before[lane] += sum[lane];
        }
        for lane in 0..LANES {
            sum[lane] += u16::from(row[lane]);
        }
    }
    (sum, before)
}

/// The checksum of a record.
pub fn adler32(bytes: &[u8]) -> u32 {
    let mut adler = Adler32::new();
    adler.write(bytes);
    adler.checksum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"a"), 0x0062_0062);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn agrees_with_another_implementation_whatever_the_length_and_the_pieces() {
        let mut x = 1u64;
        let noise: Vec<u8> = (0..3 * BLOCK + 77)
            .map(|_| {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (x >> 56) as u8
            })
            .collect();
        let ones = vec![0xff; 3 * BLOCK + 77];
        for bytes in [&noise, &ones] {
            for len in (0..300).chain([BLOCK - 1, BLOCK, BLOCK + 1, bytes.len()]) {
                assert_eq!(adler32(&bytes[..len]), adler2::adler32_slice(&bytes[..len]), "{len}");
            }
            let mut pieces = Adler32::new();
            let (mut rest, mut len) = (bytes.as_slice(), 0);
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(len.min(rest.len()));
                pieces.write(piece);
                (rest, len) = (behind, len + 1);
            }
            assert_eq!(pieces.checksum(), adler2::adler32_slice(bytes));
        }
    }
}
