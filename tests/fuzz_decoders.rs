//! Hostile bytes for every decoder: golden inputs of the Java server's, mutated. Nothing may panic,
//! and nothing may allocate for bytes that never came (a decoder that did would be killed here).
//! `FUZZ_ROUNDS` sets how many mutations of each seed are tried; a failure prints its input.

mod mutate;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ironkeeper::client::multi;
use ironkeeper::config::{Draft, QuorumConfig, ServerSpec, Surroundings, properties};
use ironkeeper::pipeline::prep::creates_ephemeral;
use ironkeeper::storage::compress::{GzipReader, SnappyReader};
use ironkeeper::storage::mem_disk::MemDisk;
use ironkeeper::storage::{
    Layout, RecoveryOptions, SnapshotOptions, epoch, recover, snap_store, snapshot,
};
use ironkeeper::tree::{StatsTrack, TreeOptions};
use ironkeeper::wire::election::{Handshake, Notification, read_frame};
use ironkeeper::wire::proto::*;
use ironkeeper::wire::quorum::{
    ForwardedRequest, LearnerInfo, QuorumPacket, Revalidated, packet, read_inform_and_activate,
    read_touches,
};
use ironkeeper::wire::{Reader, Record, Txn, TxnDigest, TxnHeader, TxnRecord, code, path};
use mutate::Random;

const MAX_RECORD: usize = 1 << 20;

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
        body::<SaslToken>,
    ] {
        body(rest);
    }
    creates_ephemeral(code::CREATE, rest);
    creates_ephemeral(code::MULTI, rest);
    let _ = multi::read(bytes.get(16..).unwrap_or_default());
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

/// The files of a golden data directory whose names begin so.
fn files(directory: &str, prefix: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(golden(directory).join("version-2")).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)) {
            found.push(std::fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn snapshots() {
    fuzz("snapshots", &files("disk/plain", "snapshot."), |bytes| {
        let _ = snapshot::read_file(bytes, 7, TreeOptions::default());
        // The stream that a leader sends: no file header.
        let _ =
            snapshot::read_stream(bytes.get(16..).unwrap_or_default(), 7, TreeOptions::default());
    });
}

#[test]
fn compressed_snapshots() {
    fn drain(mut reader: impl Read) {
        let _ = std::io::copy(&mut reader.by_ref().take(MAX_RECORD as u64), &mut std::io::sink());
    }
    fuzz("gzip", &files("disk/gz", "snapshot."), |bytes| {
        if let Ok(reader) = GzipReader::new(bytes) {
            drain(reader);
        }
    });
    fuzz("snappy", &files("disk/snappy", "snapshot."), |bytes| {
        if let Ok(reader) = SnappyReader::new(bytes) {
            drain(reader);
        }
    });
}

/// Starts a server's database from a log file, and if that goes well takes a snapshot and starts
/// from that.
fn start_from_log(log: &[u8]) {
    let (disk, layout) = (MemDisk::new(), Layout::new("/d", None));
    disk.poke(&layout.log_dir().join("log.1"), 0, log);
    let options = RecoveryOptions { trust_empty: true, ..RecoveryOptions::default() };
    let Ok(recovered) = recover(&disk, &layout, &options, &|| 0) else { return };
    let tree = recovered.tree;
    let saved =
        snap_store::save(&disk, &layout.snap_dir(), &tree.freeze(), SnapshotOptions::default());
    let again = snap_store::load(&disk, &saved.unwrap(), options.tree).unwrap();
    assert_eq!(
        (again.digest(), again.node_count(), again.last_zxid()),
        (tree.digest(), tree.node_count(), tree.last_zxid())
    );
}

#[test]
fn log_files() {
    let seeds: Vec<Vec<u8>> = files("disk/plain", "log.")
        .into_iter()
        .chain(files("disk/reconfig", "log."))
        .map(|mut log| {
            let end = log.iter().rposition(|byte| *byte != 0).unwrap();
            log.truncate(end + 1);
            log
        })
        .collect();
    fuzz("log files", &seeds, start_from_log);
}

/// Records that no disk has damaged: their checksums are right.
#[test]
fn logged_transactions() {
    let all = txns();
    let log_of = |n: usize, changed: &[u8]| {
        let mut log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
        for txn in all[..n].iter().map(Vec::as_slice).chain([changed]) {
            log.extend(u64::from(adler2::adler32_slice(txn)).to_be_bytes());
            log.extend((txn.len() as u32).to_be_bytes());
            log.extend(txn);
            log.push(b'B');
        }
        log
    };
    for n in 0..all.len() {
        fuzz("logged transactions", &all[n..=n], |txn| start_from_log(&log_of(n, txn)));
    }
}

#[test]
fn epoch_files() {
    fuzz("epoch files", &[b"12".to_vec(), b"9223372036854775807\n".to_vec()], |bytes| {
        let disk = MemDisk::new();
        disk.poke(Path::new("/d/currentEpoch"), 0, bytes);
        let _ = epoch::read(&disk, Path::new("/d"), "currentEpoch");
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
        let around = Surroundings {
            dynamic: Some(bytes.to_vec()),
            next_dynamic: Some(bytes.to_vec()),
            my_id: Some(text.clone().into_owned()),
        };
        let dynamic = b"dataDir=/d\ndynamicConfigFile=/d/f.1";
        for fixed in [&[b"dataDir=/d\n", bytes].concat()[..], &dynamic[..]] {
            if let Ok(draft) = Draft::from_file("zoo.cfg", fixed, &[]) {
                let _ = draft.finish(&around);
            }
        }
        let _ = QuorumConfig::parse(&text, true);
        let _ = ServerSpec::parse(1, &text, true);
        let _ = StatsTrack::parse(bytes);
        let _ = path::validate(&text);
    });
}
