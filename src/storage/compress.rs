//! The two ways snapshots can be compressed (D-30), streaming: gzip (RFC 1952), and snappy in the
//! framing of snappy-java's `SnappyOutputStream` (which is not the framing of Google's own tools).
//! Knows nothing of what it compresses. Java: `SnapStream`.

use std::io::{self, Read, Write};

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

const CHUNK: usize = 64 << 10;
/// Deflate, no flags, no time, no extra flags, unknown system: as `GZIPOutputStream` writes it.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// What every gzip stream begins with.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// What every stream of snappy-java begins with.
pub const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\x00";
/// Version and lowest compatible version after the magic.
const SNAPPY_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const SNAPPY_BLOCK: usize = 32 << 10;
/// A block that claims to be longer is not believed: snappy-java's own limit.
const SNAPPY_BLOCK_LIMIT: usize = 512 << 20;

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Something written that needs a last word.
pub trait Finish: Write {
    fn finish(&mut self) -> io::Result<()>;
}

pub struct GzipWriter<W> {
    inner: W,
    deflater: Box<CompressorOxide>,
    crc: crc32fast::Hasher,
    len: u32,
    out: Vec<u8>,
}

impl<W: Write> GzipWriter<W> {
    pub fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(&GZIP_HEADER)?;
        // Level 6 and a window of 32 KiB; negative: without zlib's header.
        let flags = create_comp_flags_from_zip_params(6, -15, 0);
        let deflater = Box::new(CompressorOxide::new(flags));
        let (crc, out) = (crc32fast::Hasher::new(), vec![0; CHUNK]);
        Ok(Self { inner, deflater, crc, len: 0, out })
    }

    fn deflate(&mut self, mut input: &[u8], flush: MZFlush) -> io::Result<()> {
        loop {
            let done = deflate(&mut self.deflater, input, &mut self.out, flush);
            input = &input[done.bytes_consumed..];
            self.inner.write_all(&self.out[..done.bytes_written])?;
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok(()),
                Ok(_) if flush == MZFlush::Finish || !input.is_empty() => {}
                Ok(_) | Err(MZError::Buf) => return Ok(()),
                Err(_) => return Err(invalid("deflate failed")),
            }
        }
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.len = self.len.wrapping_add(bytes.len() as u32);
        self.deflate(bytes, MZFlush::None)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Finish for GzipWriter<W> {
    fn finish(&mut self) -> io::Result<()> {
        self.deflate(&[], MZFlush::Finish)?;
        self.inner.write_all(&self.crc.clone().finalize().to_le_bytes())?;
        self.inner.write_all(&self.len.to_le_bytes())
    }
}

pub struct GzipReader<R> {
    inner: R,
    inflater: Box<InflateState>,
    crc: crc32fast::Hasher,
    len: u32,
    input: Vec<u8>,
    from: usize,
    to: usize,
    done: bool,
}

impl<R: Read> GzipReader<R> {
    pub fn new(inner: R) -> io::Result<Self> {
        let mut this = Self {
            inner,
            inflater: InflateState::new_boxed(DataFormat::Raw),
            crc: crc32fast::Hasher::new(),
            len: 0,
            input: vec![0; CHUNK],
            from: 0,
            to: 0,
            done: false,
        };
        this.read_header()?;
        Ok(this)
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.from == self.to && !self.refill()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.from += 1;
        Ok(self.input[self.from - 1])
    }

    fn refill(&mut self) -> io::Result<bool> {
        self.from = 0;
        self.to = self.inner.read(&mut self.input)?;
        Ok(self.to > 0)
    }

    fn read_header(&mut self) -> io::Result<()> {
        let mut head = [0; 10];
        for b in &mut head {
            *b = self.byte()?;
        }
        if head[..3] != GZIP_HEADER[..3] {
            return Err(invalid("this is not gzip"));
        }
        let flags = head[3];
        if flags & 4 != 0 {
            let len = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..len {
                self.byte()?;
            }
        }
        // A name, a comment: each ends with a zero.
        for flag in [8, 16] {
            while flags & flag != 0 && self.byte()? != 0 {}
        }
        if flags & 2 != 0 {
            self.byte()?;
            self.byte()?;
        }
        Ok(())
    }

    fn check_trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        for b in &mut trailer {
            *b = self.byte()?;
        }
        let crc = LittleEndian::read_u32(&trailer);
        let len = LittleEndian::read_u32(&trailer[4..]);
        if crc != self.crc.clone().finalize() || len != self.len {
            return Err(invalid("gzip's own checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.done && !out.is_empty() {
            let input = &self.input[self.from..self.to];
            let got = inflate(&mut self.inflater, input, out, MZFlush::None);
            self.from += got.bytes_consumed;
            self.crc.update(&out[..got.bytes_written]);
            self.len = self.len.wrapping_add(got.bytes_written as u32);
            match got.status {
                Ok(MZStatus::StreamEnd) => {
                    self.done = true;
                    self.check_trailer()?;
                }
                Ok(_) | Err(MZError::Buf) => {}
                Err(_) => return Err(invalid("deflated data are damaged")),
            }
            if got.bytes_written > 0 {
                return Ok(got.bytes_written);
            }
            if !self.done && self.from == self.to && !self.refill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

pub struct SnappyWriter<W> {
    inner: W,
    encoder: snap::raw::Encoder,
    block: Vec<u8>,
    out: Vec<u8>,
}

impl<W: Write> SnappyWriter<W> {
    pub fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(&SNAPPY_MAGIC)?;
        inner.write_all(&SNAPPY_VERSIONS)?;
        let out = vec![0; 4 + snap::raw::max_compress_len(SNAPPY_BLOCK)];
        let (encoder, block) = (snap::raw::Encoder::new(), Vec::with_capacity(SNAPPY_BLOCK));
        Ok(Self { inner, encoder, block, out })
    }

    fn write_block(&mut self) -> io::Result<()> {
        let n = self.encoder.compress(&self.block, &mut self.out[4..]).map_err(io::Error::other)?;
        BigEndian::write_u32(&mut self.out, n as u32);
        self.block.clear();
        self.inner.write_all(&self.out[..4 + n])
    }
}

impl<W: Write> Write for SnappyWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(SNAPPY_BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == SNAPPY_BLOCK {
            self.write_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Finish for SnappyWriter<W> {
    fn finish(&mut self) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { self.write_block() }
    }
}

pub struct SnappyReader<R> {
    inner: R,
    decoder: snap::raw::Decoder,
    block: Vec<u8>,
    from: usize,
}

impl<R: Read> SnappyReader<R> {
    pub fn new(mut inner: R) -> io::Result<Self> {
        let mut header = [0; 16];
        inner.read_exact(&mut header)?;
        if header[..8] != SNAPPY_MAGIC {
            return Err(invalid("this is not snappy-java's format"));
        }
        Ok(Self { inner, decoder: snap::raw::Decoder::new(), block: Vec::new(), from: 0 })
    }

    /// Reads the next block; `false` at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let head = loop {
            let mut head = [0; 4];
            match self.inner.read(&mut head[..1])? {
                0 => return Ok(false),
                _ => self.inner.read_exact(&mut head[1..])?,
            }
            if head != SNAPPY_MAGIC[..4] {
                break head;
            }
            // Streams may be concatenated: another header.
            self.inner.read_exact(&mut [0; 12])?;
        };
        let len = BigEndian::read_u32(&head) as usize;
        if len > SNAPPY_BLOCK_LIMIT {
            return Err(invalid("a snappy block is unreasonably long"));
        }
        let mut packed = Vec::new();
        (&mut self.inner).take(len as u64).read_to_end(&mut packed)?;
        if packed.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unpacked = snap::raw::decompress_len(&packed).map_err(|e| invalid(&e.to_string()))?;
        if unpacked > SNAPPY_BLOCK_LIMIT {
            return Err(invalid("a snappy block is unreasonably long"));
        }
        self.block.resize(unpacked, 0);
        self.from = 0;
        let done = self.decoder.decompress(&packed, &mut self.block);
        done.map(|_| true).map_err(|e| invalid(&e.to_string()))
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.from == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let n = out.len().min(self.block.len() - self.from);
        out[..n].copy_from_slice(&self.block[self.from..self.from + n]);
        self.from += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress somewhat.
    fn sample(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (i * i % 251 % 17) as u8).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = GzipWriter::new(&mut out).unwrap();
        bytes.chunks(1000).for_each(|c| writer.write_all(c).unwrap());
        writer.finish().unwrap();
        out
    }

    fn snappy(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = SnappyWriter::new(&mut out).unwrap();
        bytes.chunks(1000).for_each(|c| writer.write_all(c).unwrap());
        writer.finish().unwrap();
        out
    }

    fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        GzipReader::new(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn unsnappy(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        SnappyReader::new(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for len in [0, 1, 999, 32 << 10, 200_000] {
            let bytes = sample(len);
            assert!(gunzip(&gzip(&bytes)).unwrap() == bytes, "gzip {len}");
            assert!(unsnappy(&snappy(&bytes)).unwrap() == bytes, "snappy {len}");
        }
        let twice = [snappy(b"one "), snappy(b"two")].concat();
        assert_eq!(unsnappy(&twice).unwrap(), b"one two");
    }

    #[test]
    fn a_truncated_or_damaged_stream_is_an_error_or_differs_never_a_panic() {
        let bytes = sample(5000);
        let (gz, sn) = (gzip(&bytes), snappy(&bytes));
        for cut in 0..gz.len() {
            assert!(gunzip(&gz[..cut]).is_err(), "gzip cut at {cut}");
        }
        for at in 0..gz.len() {
            let mut bad = gz.clone();
            bad[at] ^= 0x55;
            // Bytes 3 to 9 of the header may say anything.
            assert!(gunzip(&bad).is_err() || (3..10).contains(&at), "gzip byte {at}");
        }
        for at in 0..sn.len() {
            let mut bad = sn.clone();
            bad[at] ^= 0x55;
            let _ = unsnappy(&bad);
            let _ = unsnappy(&sn[..at]);
        }
    }

    #[test]
    fn other_gzip_headers_are_understood() {
        let plain = gzip(b"abc");
        let mut fancy = vec![0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 3];
        fancy.extend(b"\x02\x00xxname\0comment\0\x01\x02");
        fancy.extend(&plain[10..]);
        assert_eq!(gunzip(&fancy).unwrap(), b"abc");
    }
}
