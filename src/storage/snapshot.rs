//! A snapshot's bytes, to and from a tree: as a file holds them, sealed by checksums (D-31 … D-34),
//! and as a leader sends them to a learner, bare. Knows no files. Drawn in `FORMATS.md`.
//! Java: `FileSnap`, `SerializeUtils`, `SnapStream`'s seals.
//!
//! Both directions stream: memory is one chunk, or the largest node.

use std::io::{self, Read, Write};

use super::adler::Adler32;
use super::compress::Finish;
use crate::tree::{DataTree, FrozenTree, TreeBuilder, TreeOptions, ZxidDigest};
use crate::wire::jute::text;
use crate::wire::{Acl, Put, Reader, Record, StatPersisted};

/// "ZKSN", version 2, database id −1.
pub const HEADER: [u8; 16] = *b"ZKSN\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff";
/// The path that ends the nodes, and that ends each seal.
pub const TERMINATOR: [u8; 5] = *b"\x00\x00\x00\x01/";
/// What ends a snapshot sent to a learner.
pub const STREAM_SIGNATURE: &str = "BenWasHere";
/// Checksum and terminator.
const SEAL: usize = 8 + TERMINATOR.len();
/// A node's ACL index and stat, after path and data.
const NODE_TAIL: usize = 8 + 60;
const WRITE_CHUNK: usize = 256 << 10;
const READ_CHUNK: usize = 64 << 10;

/// Writes a snapshot file's content.
pub fn write_file(tree: &FrozenTree, with_last_zxid: bool, out: &mut dyn Finish) -> io::Result<()> {
    let mut encoder = Encoder::new(out);
    encoder.buf.extend(HEADER);
    encoder.tree(tree)?;
    encoder.seal();
    if let Some(digest) = tree.digest() {
        encoder.buf.put_i64(digest.zxid);
        encoder.buf.put_i32(digest.version);
        encoder.buf.put_i64(digest.digest);
        encoder.seal();
    }
    if with_last_zxid {
        encoder.buf.put_i64(tree.last_zxid());
        encoder.seal();
    }
    encoder.spill()?;
    out.finish()
}

/// Writes a snapshot as a leader sends it, [`STREAM_SIGNATURE`] included.
pub fn write_stream(tree: &FrozenTree, out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = Encoder::new(out);
    encoder.tree(tree)?;
    encoder.buf.put_str(STREAM_SIGNATURE);
    encoder.spill()
}

struct Encoder<'a, W: Write + ?Sized> {
    out: &'a mut W,
    buf: Vec<u8>,
    /// So much of `buf` is in `adler` already.
    hashed: usize,
    adler: Adler32,
}

impl<'a, W: Write + ?Sized> Encoder<'a, W> {
    fn new(out: &'a mut W) -> Self {
        let buf = Vec::with_capacity(WRITE_CHUNK + (64 << 10));
        Self { out, buf, hashed: 0, adler: Adler32::new() }
    }

    fn tree(&mut self, tree: &FrozenTree) -> io::Result<()> {
        self.buf.put_count(tree.sessions().len());
        for (id, timeout) in tree.sessions() {
            self.buf.put_i64(*id);
            self.buf.put_i32(*timeout);
            self.spill_if_full()?;
        }
        let acls = tree.acls();
        self.buf.put_count(acls.len());
        for (index, acl) in acls {
            self.buf.put_i64(index);
            self.buf.put_count(acl.len());
            acl.iter().for_each(|entry| entry.write(&mut self.buf));
            self.spill_if_full()?;
        }
        let mut walk = tree.walk();
        while let Some(node) = walk.next_node() {
            put_path(&mut self.buf, node.path);
            self.buf.put_buffer(node.data);
            self.buf.put_i64(node.acl_index);
            node.stat.write(&mut self.buf);
            self.spill_if_full()?;
        }
        self.buf.extend(TERMINATOR);
        Ok(())
    }

    /// The checksum of everything so far, earlier seals included (D-33).
    fn seal(&mut self) {
        self.hash();
        self.buf.put_i64(i64::from(self.adler.checksum()));
        self.buf.extend(TERMINATOR);
    }

    fn hash(&mut self) {
        self.adler.write(&self.buf[self.hashed..]);
        self.hashed = self.buf.len();
    }

    fn spill_if_full(&mut self) -> io::Result<()> {
        if self.buf.len() >= WRITE_CHUNK { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.hash();
        self.out.write_all(&self.buf)?;
        self.buf.clear();
        self.hashed = 0;
        Ok(())
    }
}

/// As [`Put::put_str`], without checking anew what was a `&str` when the node was made.
fn put_path(buf: &mut Vec<u8>, path: &[u8]) {
    // Looking at all bytes at once is quicker than stopping at the first one of four.
    match path.iter().fold(0, |max, byte| max.max(*byte)) {
        ..0xF0 => buf.put_buffer(Some(path)),
        _ => buf.put_str(&String::from_utf8_lossy(path)),
    }
}

/// Reads a snapshot file's content. `zxid` is the one in the file's name, which is the one that
/// counts (D-36). Anything not as it should be is an error: the snapshot is then no snapshot.
pub fn read_file(input: impl Read, zxid: i64, options: TreeOptions) -> io::Result<DataTree> {
    let mut decoder = Decoder::new(input, READ_CHUNK);
    let header = decoder.take(HEADER.len())?;
    if header[..4] != HEADER[..4] {
        return Err(invalid("this is no snapshot"));
    }
    let mut builder = TreeBuilder::new(options);
    decoder.tree(&mut builder)?;
    decoder.check_seal()?;
    let digest = decoder.trailers()?;
    builder.finish(zxid, digest).map_err(|e| decoder.error(&e.to_string()))
}

/// Reads a snapshot that a leader sends, up to and including its signature; not a byte more is
/// taken from `input`, which should be buffered. `zxid` is that of the SNAP packet.
pub fn read_stream(input: impl Read, zxid: i64, options: TreeOptions) -> io::Result<DataTree> {
    let mut decoder = Decoder::new(input, 0);
    let mut builder = TreeBuilder::new(options);
    decoder.tree(&mut builder)?;
    let signature = decoder.buffer()?;
    if signature != STREAM_SIGNATURE.as_bytes() {
        let got = String::from_utf8_lossy(signature).into_owned();
        return Err(decoder.error(&format!("missing signature, got {got:?}")));
    }
    builder.finish(zxid, None).map_err(|e| decoder.error(&e.to_string()))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

struct Decoder<R> {
    input: R,
    /// How much to read beyond what is asked for.
    ahead: usize,
    buf: Vec<u8>,
    /// `buf[..taken]` has been handed out, `buf[taken..filled]` not yet.
    taken: usize,
    filled: usize,
    /// So much of `buf` is in `adler` already; never beyond `taken`.
    hashed: usize,
    adler: Adler32,
    /// Offset in the input at which `buf` begins.
    base: u64,
}

impl<R: Read> Decoder<R> {
    fn new(input: R, ahead: usize) -> Self {
        let adler = Adler32::new();
        Self { input, ahead, buf: Vec::new(), taken: 0, filled: 0, hashed: 0, adler, base: 0 }
    }

    fn error(&self, why: &str) -> io::Error {
        invalid(&format!("at byte {}: {why}", self.base + self.taken as u64))
    }

    /// Makes at least `n` bytes available, if there are as many.
    fn fill(&mut self, n: usize) -> io::Result<()> {
        if self.filled - self.taken >= n {
            return Ok(());
        }
        self.hash();
        self.buf.copy_within(self.taken..self.filled, 0);
        self.base += self.taken as u64;
        self.filled -= self.taken;
        (self.taken, self.hashed) = (0, 0);
        while self.filled < n {
            // Room grows as bytes arrive: a length may lie.
            let room = (n.max(self.ahead) - self.filled).min(READ_CHUNK.max(self.filled));
            if self.buf.len() < self.filled + room {
                self.buf.resize(self.filled + room, 0);
            }
            match self.input.read(&mut self.buf[self.filled..self.filled + room]) {
                Ok(0) => break,
                Ok(got) => self.filled += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn need(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.filled - self.taken < n {
            self.fill(n)?;
            if self.filled - self.taken < n {
                return Err(self.error(&format!("the snapshot ends inside a field of {n} bytes")));
            }
        }
        Ok(&self.buf[self.taken..self.taken + n])
    }

    fn take(&mut self, n: usize) -> io::Result<&[u8]> {
        self.need(n)?;
        self.taken += n;
        Ok(&self.buf[self.taken - n..self.taken])
    }

    fn i32_at(&mut self, offset: usize) -> io::Result<i32> {
        let bytes = self.need(offset + 4)?;
        Reader::new(&bytes[offset..]).i32().map_err(|e| invalid(&e.to_string()))
    }

    fn i32(&mut self) -> io::Result<i32> {
        let v = self.i32_at(0)?;
        self.taken += 4;
        Ok(v)
    }

    fn i64(&mut self) -> io::Result<i64> {
        let bytes = self.take(8)?;
        Reader::new(bytes).i64().map_err(|e| invalid(&e.to_string()))
    }

    /// The length `offset` bytes ahead; null (−1) counts as `null`.
    fn length_at(&mut self, offset: usize, null: Option<usize>) -> io::Result<usize> {
        match (self.i32_at(offset)?, null) {
            (-1, Some(n)) => Ok(n),
            (n, _) if n < 0 => Err(self.error(&format!("a length of {n}"))),
            (n, _) => Ok(n as usize),
        }
    }

    fn buffer(&mut self) -> io::Result<&[u8]> {
        let n = self.length_at(0, Some(0))?;
        self.taken += 4;
        self.take(n)
    }

    fn string(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.buffer()?).into_owned())
    }

    fn tree(&mut self, builder: &mut TreeBuilder) -> io::Result<()> {
        for _ in 0..self.i32()? {
            let (id, timeout) = (self.i64()?, self.i32()?);
            builder.add_session(id, timeout);
        }
        for _ in 0..self.i32()? {
            let index = self.i64()?;
            let mut acl = Vec::new();
            for _ in 0..self.i32()? {
                let perms = self.i32()?;
                let id = crate::wire::Id::new(&self.string()?, &self.string()?);
                acl.push(Acl { perms, id });
            }
            builder.add_acl(index, &acl);
        }
        while self.node(builder)? {}
        Ok(())
    }

    /// One node, without copying its parts; `false` for the terminator.
    fn node(&mut self, builder: &mut TreeBuilder) -> io::Result<bool> {
        let path_len = self.length_at(0, None)?;
        if path_len == 1 && self.need(TERMINATOR.len())? == TERMINATOR {
            self.taken += TERMINATOR.len();
            return Ok(false);
        }
        let data_at = 4 + path_len;
        let null = self.i32_at(data_at)? == -1;
        let data_len = self.length_at(data_at, Some(0))?;
        let tail_at = data_at + 4 + data_len;
        let bytes = self.need(tail_at + NODE_TAIL)?;
        let path = text(&bytes[4..data_at]);
        let data = (!null).then_some(&bytes[data_at + 4..tail_at]);
        let mut tail = Reader::new(&bytes[tail_at..]);
        let parsed = tail.i64().and_then(|acl| Ok((acl, tail.record::<StatPersisted>()?)));
        let (acl, stat) = parsed.map_err(|e| invalid(&e.to_string()))?;
        match builder.add_node(&path, data, acl, &stat) {
            Err(e) => Err(self.error(&e.to_string())),
            Ok(()) => {
                self.taken += tail_at + NODE_TAIL;
                Ok(true)
            }
        }
    }

    fn hash(&mut self) {
        self.adler.write(&self.buf[self.hashed..self.taken]);
        self.hashed = self.taken;
    }

    fn check_seal(&mut self) -> io::Result<()> {
        self.hash();
        let ours = i64::from(self.adler.checksum());
        let seal = self.take(SEAL)?;
        let theirs = Reader::new(seal).i64().map_err(|e| invalid(&e.to_string()))?;
        if theirs != ours || seal[8..] != TERMINATOR {
            return Err(self.error(&format!("CRC corruption: {theirs:x} sealed, {ours:x} read")));
        }
        Ok(())
    }

    /// Digest and last zxid, each with a seal; older versions write neither. How much is left tells
    /// which are there, so that digests can be switched on and off (D-34); Java trips over that.
    fn trailers(&mut self) -> io::Result<Option<ZxidDigest>> {
        const LAST_ZXID: usize = 8 + SEAL;
        self.fill(4096)?;
        let mut digest = None;
        if self.filled - self.taken > LAST_ZXID {
            let (zxid, version) = (self.i64()?, self.i32()?);
            // Version 1 was text.
            let value = match version {
                2.. => self.i64()?,
                _ => {
                    let text = self.string()?;
                    i64::from_str_radix(&text, 16).map_err(|e| self.error(&e.to_string()))?
                }
            };
            digest = Some(ZxidDigest { zxid, version, digest: value });
            self.check_seal()?;
        }
        if self.filled - self.taken > 0 {
            self.i64()?;
            self.check_seal()?;
        }
        Ok(digest)
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
