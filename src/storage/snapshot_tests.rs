//! Snapshots: there and back as a file and as a stream, cut off anywhere, damaged anyhow.

use super::*;
use crate::wire::{Id, op::perms};

impl Finish for Vec<u8> {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A tree with sessions, ACLs, null and empty data, an ephemeral, and one node beyond any chunk.
fn sample(large: usize, digest_enabled: bool) -> DataTree {
    let mut builder = TreeBuilder::new(TreeOptions { digest_enabled, ..TreeOptions::default() });
    builder.add_session(0x1000_0000_0001, 30_000);
    builder.add_session(-5, 1);
    let bob = Id { scheme: "digest".into(), id: "bob:secret".into() };
    builder.add_acl(7, &[Acl { perms: perms::ALL, id: bob }]);
    let stat = StatPersisted { czxid: 1, mzxid: 2, version: 3, ..StatPersisted::default() };
    let ephemeral = StatPersisted { ephemeral_owner: 0x1000_0000_0001, ..stat };
    let long = vec![9; large];
    let nodes: [(&str, Option<&[u8]>, i64, &StatPersisted); 6] = [
        ("", Some(b""), -1, &stat),
        ("/null", None, -1, &stat),
        ("/bobs", Some(b"mine"), 7, &stat),
        ("/bobs/ä", Some(b""), 7, &ephemeral),
        ("/large", Some(&long), -1, &stat),
        ("/z", Some(b"z"), -1, &stat),
    ];
    for (path, data, acl, stat) in nodes {
        builder.add_node(path, data, acl, stat).unwrap();
    }
    builder.finish(0x42, None).unwrap()
}

fn file_of(tree: &DataTree, with_last_zxid: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_file(&tree.freeze(), with_last_zxid, &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> io::Result<DataTree> {
    read_file(bytes, 0x42, TreeOptions::default())
}

fn assert_same(a: &DataTree, b: &DataTree) {
    assert_eq!((a.digest(), a.sessions()), (b.digest(), b.sessions()));
    assert_eq!((a.last_zxid(), a.ephemerals_count()), (b.last_zxid(), b.ephemerals_count()));
    let (a, b) = (a.freeze(), b.freeze());
    let (mut a, mut b) = (a.walk(), b.walk());
    while let Some(node) = a.next_node() {
        assert_eq!(Some(node), b.next_node());
    }
    assert_eq!(b.next_node(), None);
}

#[test]
fn paths_are_written_as_java_writes_strings() {
    for (path, written) in [("/a", &b"/a"[..]), ("/ä", b"/\xc3\xa4"), ("/€", b"/\xe2\x82\xac")] {
        let mut buf = Vec::new();
        put_path(&mut buf, path.as_bytes());
        assert_eq!(buf[4..], *written);
    }
    let mut buf = Vec::new();
    put_path(&mut buf, "/😀".as_bytes());
    assert_eq!(buf, b"\x00\x00\x00\x07/\xed\xa0\xbd\xed\xb8\x80");
}

#[test]
fn a_file_is_header_sessions_acls_nodes_and_three_seals() {
    let bytes = file_of(&sample(1, true), true);
    assert_eq!(&bytes[..16], b"ZKSN\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(&bytes[16..20], &[0, 0, 0, 2], "two sessions");
    let tail = bytes.len() - (13 + 20 + 13 + 8 + 13);
    assert_eq!(&bytes[tail - 5..tail], TERMINATOR, "after the last node");
    let mut adler = Adler32::new();
    for (from, to) in [(0, tail), (tail, tail + 33), (tail + 33, tail + 54)] {
        adler.write(&bytes[from..to]);
        let seal = &bytes[to..to + 13];
        assert_eq!(seal[..8], i64::from(adler.checksum()).to_be_bytes());
        assert_eq!(seal[8..], TERMINATOR);
    }
    assert_eq!(&bytes[tail + 13..tail + 21], &0x42i64.to_be_bytes());
    assert_eq!(&bytes[tail + 46..tail + 54], &0x42i64.to_be_bytes());
}

#[test]
fn files_come_back_with_and_without_trailers() {
    for large in [0, 70_000, 3_000_000] {
        for digest_enabled in [true, false] {
            for with_last_zxid in [true, false] {
                let tree = sample(large, digest_enabled);
                let again = read(&file_of(&tree, with_last_zxid)).unwrap();
                assert_same(&again, &read(&file_of(&sample(large, true), true)).unwrap());
                assert_eq!(again.digest_mismatches(), 0);
            }
        }
    }
}

#[test]
fn a_digest_of_version_1_is_text_and_not_compared() {
    let tree = sample(10, true);
    let mut bytes = file_of(&sample(10, false), false);
    bytes.put_i64(0x42);
    bytes.put_i32(1);
    bytes.put_str("abc123");
    let mut adler = Adler32::new();
    adler.write(&bytes);
    bytes.put_i64(i64::from(adler.checksum()));
    bytes.extend(TERMINATOR);
    let again = read(&bytes).unwrap();
    assert_same(&again, &tree);
    assert_eq!(again.digest_mismatches(), 0);
}

#[test]
fn a_file_that_is_cut_off_is_no_snapshot() {
    let bytes = file_of(&sample(10, true), true);
    // Older versions wrote no trailers: an end right after a seal is an end.
    let seals = [bytes.len() - 21, bytes.len() - 54];
    for cut in 0..bytes.len() {
        assert_eq!(read(&bytes[..cut]).is_ok(), seals.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let mut bytes = file_of(&sample(10, true), true);
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            bytes[at] ^= 1 << bit;
            assert!(read(&bytes).is_err(), "byte {at} bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn random_damage_is_an_error_never_a_panic() {
    let tree = sample(300, true);
    let mut stream = Vec::new();
    write_stream(&tree.freeze(), &mut stream).unwrap();
    let (file, mut seed) = (file_of(&tree, true), 1u64);
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % n
    };
    for _ in 0..1000 {
        let (mut file, mut stream) = (file.clone(), stream.clone());
        for _ in 0..1 + random(3) {
            let noise: Vec<u8> = (0..1 + random(20)).map(|_| random(256) as u8).collect();
            for bytes in [&mut file, &mut stream] {
                let at = random(bytes.len() - noise.len());
                bytes[at..at + noise.len()].copy_from_slice(&noise);
            }
        }
        let damaged = file != file_of(&tree, true);
        assert!(!damaged || read(&file).is_err());
        // A stream has no checksum: TCP is trusted. It only must not bring anything down.
        let _ = read_stream(&stream[..], 0x42, TreeOptions::default());
    }
}

#[test]
fn a_stream_comes_back_and_not_a_byte_after_it_is_taken() {
    for large in [0, 70_000, 3_000_000] {
        let tree = sample(large, true);
        let mut bytes = Vec::new();
        write_stream(&tree.freeze(), &mut bytes).unwrap();
        assert!(bytes.ends_with(b"\x00\x00\x00\x01/\x00\x00\x00\x0aBenWasHere"));
        bytes.extend(b"the next packet");
        let mut input = &bytes[..];
        let again = read_stream(&mut input, 0x42, TreeOptions::default()).unwrap();
        assert_same(&again, &tree);
        assert_eq!(input, b"the next packet");
        let signature = bytes.len() - 20;
        bytes[signature] ^= 1;
        assert!(read_stream(&bytes[..], 0x42, TreeOptions::default()).is_err());
    }
}
