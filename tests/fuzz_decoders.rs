//! Hostile bytes for every decoder: golden inputs of the Java server's, mutated. Nothing may panic,
//! and nothing may allocate for bytes that never came (a decoder that did would be killed here).
//! `FUZZ_ROUNDS` sets how many mutations of each seed are tried; a failure prints its input.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ironkeeper::config::{QuorumConfig, ServerSpec, properties};
use ironkeeper::storage::snapshot;
use ironkeeper::tree::{StatsTrack, TreeOptions};
use ironkeeper::wire::election::{Handshake, Notification, read_frame};
use ironkeeper::wire::proto::*;
use ironkeeper::wire::quorum::{
    ForwardedRequest, LearnerInfo, QuorumPacket, Revalidated, packet, read_inform_and_activate,
    read_touches,
};
use ironkeeper::wire::{Reader, Record, Txn, TxnDigest, TxnHeader, TxnRecord, code, path};

const MAX_RECORD: usize = 1 << 20;

/// xorshift64*: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Flips bits, plants boundary values, cuts, doubles and splices.
    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
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

fn rounds() -> usize {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

/// Feeds a decoder with every seed and its mutations.
fn fuzz(name: &str, seeds: &[Vec<u8>], decode: impl Fn(&[u8])) {
    assert!(!seeds.is_empty(), "{name}: no seeds");
    let mut random = Random(0x1234_5678_9abc_def1);
    for seed in seeds {
        for round in 0..=rounds() {
            let input = if round == 0 { seed.clone() } else { random.mutate(seed) };
            let result = catch_unwind(AssertUnwindSafe(|| decode(&input)));
            assert!(result.is_ok(), "{name} panics on {input:02x?}");
        }
    }
}

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks_exact(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
}

/// All recorded frames in one direction, without their length prefix.
fn frames(direction: char) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(golden("wire")).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            if line.chars().nth(1) == Some(direction)
                && let Some(hex) = line.split(' ').nth(1)
            {
                all.push(unhex(hex).into_iter().skip(4).collect());
            }
        }
    }
    all
}

/// Every record that a client may send or be sent, whatever the bytes really are.
fn decode_client_records(bytes: &[u8]) {
    fn body<R: Record>(bytes: &[u8]) {
        if let Ok(record) = R::from_bytes(bytes) {
            // What was understood can be written again.
            assert!(R::from_bytes(&record.to_bytes()).is_ok());
        }
    }
    body::<ConnectRequest>(bytes);
    body::<ConnectResponse>(bytes);
    let rest = bytes.get(8..).unwrap_or_default();
    body::<RequestHeader>(bytes);
    body::<ReplyHeader>(bytes);
    for body in [
        body::<CreateRequest>,
        body::<CreateTtlRequest>,
        body::<VersionRequest>,
        body::<SetDataRequest>,
        body::<SetAclRequest>,
        body::<PathRequest>,
        body::<ReadRequest>,
        body::<ReconfigRequest>,
        body::<SetWatches>,
        body::<SetWatches2>,
        body::<WatchRequest>,
        body::<AuthPacket>,
        body::<MultiHeader>,
        body::<GetDataResponse>,
        body::<Children2Response>,
        body::<AclResponse>,
        body::<WatcherEvent>,
    ] {
        body(rest);
    }
}

#[test]
fn client_records() {
    fuzz("requests", &frames('>'), decode_client_records);
    fuzz("replies", &frames('<'), decode_client_records);
}

fn txns() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(golden("tree/txns.hex")).unwrap();
    text.lines().map(|line| unhex(line.split(' ').next_back().unwrap_or(line))).collect()
}

#[test]
fn transactions() {
    fuzz("transactions", &txns(), |bytes| {
        if let Ok(record) = TxnRecord::from_bytes(bytes) {
            assert!(TxnRecord::from_bytes(&record.to_bytes()).is_ok());
        }
        let _ = TxnHeader::from_bytes(bytes);
        let _ = TxnDigest::from_bytes(bytes);
        for op in [code::CREATE, code::MULTI, code::CLOSE_SESSION, code::SET_ACL, 77] {
            let _ = Txn::read_body(op, &mut Reader::new(bytes));
        }
    });
}

#[test]
fn quorum_packets() {
    let info = LearnerInfo { sid: 3, protocol_version: 0x10000, config_version: 7 }.to_bytes();
    let seeds: Vec<Vec<u8>> = txns()
        .into_iter()
        .take(8)
        .map(|txn| QuorumPacket::new(packet::PROPOSAL, 5, txn).to_bytes())
        .chain([
            QuorumPacket::new(packet::FOLLOWERINFO, 1 << 32, info).to_bytes(),
            QuorumPacket::bare(packet::PING, 9).to_bytes(),
        ])
        .collect();
    fuzz("quorum packets", &seeds, |bytes| {
        let _ = QuorumPacket::from_bytes(bytes);
        if let Ok(packet) = QuorumPacket::read_from(&mut &bytes[..], MAX_RECORD) {
            let _ = packet.decode::<LearnerInfo>();
            let _ = packet.decode::<Revalidated>();
            let _ = ForwardedRequest::read(packet.payload());
            let _ = read_touches(packet.payload());
            let _ = read_inform_and_activate(packet.payload());
        }
    });
}

#[test]
fn election_messages() {
    let address = b"127.0.0.1:3888|[::1]:3889".to_vec();
    let handshake = |version: i64| {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(2i64.to_be_bytes());
        bytes.extend((address.len() as i32).to_be_bytes());
        bytes.extend(&address);
        bytes
    };
    let notification: Vec<u8> = [
        0i32.to_be_bytes().to_vec(),
        [1i64, 2, 3, 4].iter().flat_map(|v| v.to_be_bytes()).collect(),
        [2i32, 12].iter().flat_map(|v| v.to_be_bytes()).collect(),
        b"version=1234".to_vec(),
    ]
    .concat();
    let mut framed = (notification.len() as i32).to_be_bytes().to_vec();
    framed.extend(&notification);
    let seeds = [handshake(-65536), handshake(-65535), handshake(5), notification, framed];
    fuzz("election messages", &seeds, |bytes| {
        let _ = Notification::from_bytes(bytes);
        let _ = Handshake::read_from(&mut &bytes[..]);
        let _ = read_frame(&mut &bytes[..]);
    });
}

#[test]
fn snapshots() {
    let mut seeds = Vec::new();
    for file in std::fs::read_dir(golden("disk/plain/version-2")).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("snapshot.")) {
            seeds.push(std::fs::read(path).unwrap());
        }
    }
    fuzz("snapshots", &seeds, |bytes| {
        let _ = snapshot::read_file(bytes, 7, TreeOptions::default());
        // The stream that a leader sends: no file header.
        let _ =
            snapshot::read_stream(bytes.get(16..).unwrap_or_default(), 7, TreeOptions::default());
    });
}

#[test]
fn configuration_texts() {
    let seeds = [
        &b"tickTime=2000\nserver.1=a:2888:3888:observer|b:1:2;0.0.0.0:2181\nx\\\n y : \\u00e9 z\n"
            [..],
        b"server.1=h:1:2:participant;h:3\nserver.2=[::1]:4:5\ngroup.1=1:2\nweight.1=0\nversion=ff",
        b"count=5,bytes=-1=;byteHardLimit=9;countHardLimit=8",
        b"/a/b\xed\xa0\xbd\xff/c\0/./..//",
    ]
    .map(<[u8]>::to_vec);
    fuzz("configuration texts", &seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = properties::parse(&properties::latin1(bytes));
        let _ = QuorumConfig::parse(&text, true);
        let _ = ServerSpec::parse(1, &text, true);
        let _ = StatsTrack::parse(bytes);
        let _ = path::validate(&text);
    });
}
