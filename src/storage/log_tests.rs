//! Transaction logs: golden bytes, damage of every kind, crashes at every operation.

use std::path::Path;

use super::*;
use crate::storage::TxnLog;
use crate::storage::mem_disk::{Fault, MemDisk, Unsynced};
use crate::storage::txnlog::{LogOptions, truncate};

const DIR: &str = "/d/version-2";
const SMALL: LogOptions = LogOptions { preallocate: 8192, force_sync: true, size_limit: 0 };

fn disk() -> MemDisk {
    let mem = MemDisk::new();
    mem.create_dir_all(Path::new(DIR)).unwrap();
    mem
}

fn log(mem: &MemDisk, options: LogOptions, last: i64) -> TxnLog {
    TxnLog::new(mem.shared(), DIR.into(), options, last)
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Bytes that have the zxid where transactions have it, padded to `len`.
fn txn(zxid: i64, len: usize) -> Vec<u8> {
    let mut bytes = vec![7u8; len.max(32)];
    bytes[12..20].copy_from_slice(&zxid.to_be_bytes());
    bytes
}

fn read_after(mem: &MemDisk, after: Option<i64>) -> Result<Vec<i64>> {
    let mut cursor = LogCursor::after(mem, Path::new(DIR), after)?;
    let mut zxids = Vec::new();
    while cursor.advance(mem)? {
        let record = cursor.record();
        assert_eq!(record.bytes, txn(record.zxid, record.bytes.len()), "0x{:x}", record.zxid);
        zxids.push(record.zxid);
    }
    Ok(zxids)
}

/// A log of 1..=n, `len` bytes each, one commit each.
fn written(n: i64, len: usize) -> MemDisk {
    let mem = disk();
    let mut log = log(&mem, SMALL, 0);
    for zxid in 1..=n {
        log.append(zxid, &txn(zxid, len));
        log.commit().unwrap();
    }
    mem
}

#[test]
fn a_file_is_header_records_and_padding() {
    let mem = disk();
    let mut log = log(&mem, SMALL, 0);
    log.append(1, &txn(1, 32));
    log.append(2, &txn(2, 33));
    let before = mem.ops();
    log.commit().unwrap();
    // Create, extend, one write, zeros ahead, one fdatasync, the directory.
    assert_eq!(mem.ops() - before, 6);
    log.append(3, &txn(3, 32));
    let before = mem.ops();
    log.commit().unwrap();
    assert_eq!(mem.ops() - before, 2, "one write and one fdatasync");
    let bytes = mem.peek(&path("log.1")).unwrap();
    assert_eq!(bytes.len(), 8192);
    assert_eq!(&bytes[..16], b"ZKLG\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00");
    assert_eq!(&bytes[16..20], &[0; 4], "the checksum is a long");
    assert_eq!(&bytes[24..28], &[0, 0, 0, 32]);
    assert_eq!(&bytes[28..60], txn(1, 32));
    assert_eq!(bytes[60], b'B');
    assert!(bytes[61 + 46 + 45..].iter().all(|b| *b == 0));
    assert_eq!(read_after(&mem, None).unwrap(), [1, 2, 3]);
    assert_eq!(read_after(&mem, Some(2)).unwrap(), [3]);
}

#[test]
fn preallocation_grows_by_multiples_and_can_be_off() {
    for (end, size, preallocate, expected) in [
        (16, 0, 8192, 8192),
        (4000, 8192, 8192, 8192),
        (4096, 8192, 8192, 16384),
        (100_000, 8192, 8192, 106_496),
        (100, 0, 0, 0),
    ] {
        let got = crate::storage::txnlog::padded_size(end, size, preallocate);
        assert_eq!(got, expected, "end {end} size {size}");
    }
    let mem = disk();
    let mut log = log(&mem, LogOptions { preallocate: 0, ..SMALL }, 0);
    log.append(1, &txn(1, 32));
    assert_eq!(log.commit().unwrap().file_size, 61);
    assert_eq!(mem.peek(&path("log.1")).unwrap().len(), 61);
}

#[test]
fn zeros_are_written_ahead_in_growing_steps() {
    use crate::storage::txnlog::zeroed_size;
    const KIB: u64 = 1 << 10;
    for (end, size, expected) in [
        (1, 64 * KIB * KIB, 64 * KIB),
        (64 * KIB + 1, 64 * KIB * KIB, 128 * KIB),
        (300_000, 64 * KIB * KIB, 600_000 / 4096 * 4096),
        (5 * KIB * KIB, 64 * KIB * KIB, 5 * KIB * KIB + 512 * KIB),
        (16, 8 * KIB, 8 * KIB),
        (16, 5000, 5000),
    ] {
        assert_eq!(zeroed_size(end, size), expected, "end {end} size {size}");
    }
    let options = LogOptions { preallocate: 1 << 20, ..SMALL };
    let ops_of_commits = |options| {
        let mem = disk();
        let mut log = log(&mem, options, 0);
        let ops = (1..=8).map(|zxid| {
            log.append(zxid, &txn(zxid, 30_000));
            let before = mem.ops();
            log.commit().unwrap();
            mem.ops() - before
        });
        (ops.collect::<Vec<_>>(), mem.peek(&path("log.1")).unwrap())
    };
    let (ops, bytes) = ops_of_commits(options);
    // The first creates and extends the file, too. The fourth and the eighth pass what is zeroed,
    // and write about as much again as there is, in pieces of 64 KiB.
    assert_eq!(ops, [6, 2, 2, 4, 2, 2, 2, 6]);
    let end = 16 + 8 * 30_013;
    assert_eq!((bytes.len(), bytes[end - 1]), (1 << 20, b'B'));
    assert!(bytes[end..].iter().all(|b| *b == 0));
    // Nothing is written ahead where nothing is preallocated, or synced, or of a big batch.
    let (ops, exact) = ops_of_commits(LogOptions { preallocate: 0, ..SMALL });
    assert_eq!((ops, &exact[..]), (vec![4, 2, 2, 2, 2, 2, 2, 2], &bytes[..end]));
    let (ops, same) = ops_of_commits(LogOptions { force_sync: false, ..options });
    assert_eq!((ops, same), (vec![3, 1, 1, 1, 1, 1, 1, 1], bytes));
    let mem = disk();
    let mut log = log(&mem, options, 0);
    log.append(1, &txn(1, 100_000));
    log.commit().unwrap();
    assert_eq!(mem.ops(), 1 + 5);
}

#[test]
fn rolling_by_hand_and_by_size() {
    let mem = disk();
    let mut log = log(&mem, LogOptions { size_limit: 100, preallocate: 0, ..SMALL }, 0);
    for zxid in 1..=4 {
        log.append(zxid, &txn(zxid, 40));
        log.commit().unwrap();
    }
    log.roll().unwrap();
    log.append(1 << 32 | 1, &txn(1 << 32 | 1, 40));
    log.commit().unwrap();
    let names: Vec<_> = mem.list(Path::new(DIR)).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["log.1", "log.100000001", "log.3"]);
    assert_eq!(read_after(&mem, Some(2)).unwrap(), [3, 4, 1 << 32 | 1]);
}

#[test]
#[should_panic(expected = "0x3 appended to a log that ends with 0x1")]
fn zookeeper_4925_a_hole_is_never_written() {
    let mut log = log(&disk(), SMALL, 1);
    log.append(3, &txn(3, 32));
}

#[test]
fn missing_transactions_are_an_error() {
    let mem = written(3, 40);
    let mut later = log(&mem, SMALL, 4);
    later.append(5, &txn(5, 40));
    later.commit().unwrap();
    let error = read_after(&mem, None).unwrap_err().to_string();
    assert!(error.contains("0x3 is followed by 0x5 in /d/version-2/log.5"), "{error}");
    // A snapshot of 4 covers the hole.
    assert_eq!(read_after(&mem, Some(4)).unwrap(), [5]);
    assert!(read_after(&mem, Some(3)).is_err());
}

#[test]
fn the_first_transaction_of_a_later_epoch_follows() {
    const E1: i64 = 1 << 32;
    for (last, next, ok) in [
        (4, 5, true),
        (4, 4, false),
        (4, 6, false),
        (4, E1 | 1, true),
        (4, E1 | 2, false),
        (E1, E1 | 1, true),
        (E1 | 9, (3 * E1) | 1, true),
        (E1 | 9, 1, false),
    ] {
        assert_eq!(follows(last, next), ok, "{last:x} {next:x}");
    }
}

#[test]
fn zookeeper_1621_2332_an_empty_or_headerless_file_has_no_records() {
    for bytes in [&b""[..], b"ZKLG", &[0; 16], &[0; 8192], b"ZKLG\x00\x00\x00\x02\x00\x00"] {
        let mem = written(2, 40);
        mem.poke(&path("log.3"), 0, bytes);
        assert_eq!(read_after(&mem, None).unwrap(), [1, 2], "{bytes:?}");
        let file = LogFile::open(&mem, &path("log.3")).unwrap();
        assert_eq!(file.end(), Some(&End::NoHeader));
    }
    let mem = disk();
    mem.poke(&path("log.3"), 0, b"ZKSN0123456789012345");
    let error = read_after(&mem, None).unwrap_err().to_string();
    assert!(error.contains("log.3 is damaged at byte 0: this is no transaction log"), "{error}");
}

#[test]
fn a_flipped_bit_in_a_whole_record_is_refused() {
    let clean = written(3, 40).peek(&path("log.1")).unwrap();
    // The second record: checksum, length, bytes, mark.
    for (at, byte) in clean.iter().enumerate().skip(16 + 53).take(53) {
        for bit in 0..8 {
            let mem = written(3, 40);
            mem.poke(&path("log.1"), at, &[byte ^ (1 << bit)]);
            match read_after(&mem, None) {
                Err(StorageError::Corrupt { offset, .. }) => assert_eq!(offset, 69),
                // A length that leads out of the file looks like an unfinished write.
                Ok(zxids) => assert!(zxids == [1] && (77..81).contains(&at), "{at} {zxids:?}"),
                Err(e) => panic!("byte {at} bit {bit}: {e}"),
            }
        }
    }
}

#[test]
fn zookeeper_2560_a_write_that_lost_sectors_in_its_middle_is_cut_off() {
    let mem = written(2, 3000);
    // Record 2 begins at 16 + 3013 = 3029: sector 3584 is inside it.
    mem.poke(&path("log.1"), 3584, &[0; 512]);
    assert_eq!(read_after(&mem, None).unwrap(), [1]);
    let mut file = LogFile::open(&mem, &path("log.1")).unwrap();
    while file.advance().unwrap() {}
    assert_eq!((file.position(), matches!(file.end(), Some(End::Torn(_)))), (3029, true));
    // With more behind it than one batch can be, it is not the last write.
    mem.poke(&path("log.1"), 3029 + 3013 + BATCH_LIMIT as usize, b"x");
    let error = read_after(&mem, None).unwrap_err().to_string();
    assert!(error.contains("too much follows it for the last write"), "{error}");
}

/// The write began in a sector that was there before, and that sector did not arrive.
#[test]
fn a_write_that_lost_its_first_sector_is_cut_off() {
    for head in 1..=20 {
        // Record 2 begins so many bytes before a sector does.
        let mem = disk();
        let mut log = log(&mem, SMALL, 0);
        log.append(1, &txn(1, 1024 - 16 - 13 - head));
        log.append(2, &txn(2, 300));
        log.commit().unwrap();
        let intact = mem.peek(&path("log.1")).unwrap();
        mem.poke(&path("log.1"), 1024 - head, &vec![0; head]);
        let lost = mem.peek(&path("log.1")).unwrap() != intact;
        assert_eq!(lost, head > 4, "a record begins with four zeros");
        let zxids = read_after(&mem, None).unwrap_or_else(|e| panic!("{head}: {e}"));
        assert_eq!(zxids.len(), if lost { 1 } else { 2 }, "{head}");
    }
}

#[test]
fn a_torn_end_is_fine_when_the_next_file_continues() {
    for cut in 16 + 53..16 + 2 * 53 {
        let mem = written(2, 40);
        let mut file = mem.open_write(&path("log.1")).unwrap();
        file.set_len(cut).unwrap();
        assert_eq!(read_after(&mem, None).unwrap(), [1], "cut at {cut}");
        let mut next = log(&mem, SMALL, 1);
        next.append(2, &txn(2, 50));
        next.append(3, &txn(3, 50));
        next.commit().unwrap();
        assert_eq!(read_after(&mem, None).unwrap(), [1, 2, 3], "cut at {cut}");
    }
}

#[test]
fn records_logged_twice_are_read_once() {
    let mem = written(3, 40);
    let mut again = log(&mem, SMALL, 1);
    again.append(2, &txn(2, 40));
    again.append(3, &txn(3, 40));
    again.append(4, &txn(4, 40));
    again.commit().unwrap();
    assert_eq!(read_after(&mem, None).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn truncate_keeps_nothing_beyond_its_target() {
    for target in 0..=9 {
        let mem = disk();
        let mut log = log(&mem, SMALL, 0);
        for zxid in 1..=9 {
            log.append(zxid, &txn(zxid, 40));
            if zxid % 3 == 0 {
                log.roll().unwrap();
            }
        }
        log.truncate(target).unwrap();
        assert_eq!(read_after(&mem, None).unwrap(), (1..=target).collect::<Vec<_>>());
        mem.crash(Unsynced::Lost);
        assert_eq!(read_after(&mem, None).unwrap(), (1..=target).collect::<Vec<_>>());
    }
    // A target that is absent keeps what is before it, never the next one.
    let mem = written(3, 40);
    truncate(&mem, Path::new(DIR), 1 << 32).unwrap();
    assert_eq!(read_after(&mem, None).unwrap(), [1, 2, 3]);
}

#[test]
fn truncate_changes_nothing_when_the_file_is_damaged() {
    let mem = written(3, 40);
    let mut later = log(&mem, SMALL, 3);
    later.append(4, &txn(4, 40));
    later.commit().unwrap();
    mem.poke(&path("log.1"), 40, b"rot");
    let before = mem.ops();
    assert!(truncate(&mem, Path::new(DIR), 2).is_err());
    assert_eq!(mem.ops(), before);
}

#[test]
fn zookeeper_3701_a_crash_during_truncate_leaves_a_prefix() {
    for seed in 0..300u64 {
        let mem = disk();
        let mut log = log(&mem, SMALL, 0);
        for zxid in 1..=9 {
            log.append(zxid, &txn(zxid, 40));
            if zxid % 3 == 0 {
                log.roll().unwrap();
            }
        }
        mem.fail(1 + seed % 7, Fault::PowerCut);
        let done = log.truncate(5).is_ok();
        mem.crash(Unsynced::Some(seed));
        let zxids = read_after(&mem, None).unwrap();
        assert_eq!(zxids, (1..=zxids.len() as i64).collect::<Vec<_>>(), "seed {seed}");
        assert!(zxids.len() == 5 || (!done && zxids.len() > 5), "seed {seed}: {zxids:?}");
    }
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_accepted() {
    for fault in [Fault::Io, Fault::NoSpace, Fault::TornWrite] {
        for nth in 1..=6 {
            let mem = disk();
            let mut log = log(&mem, SMALL, 0);
            log.append(1, &txn(1, 40));
            mem.fail(nth, fault);
            let error = log.commit().unwrap_err().to_string();
            assert!(error.contains("appending to /d/version-2/log.1"), "{error}");
            assert!(log.commit().is_err(), "an fsync is never retried");
        }
    }
}

/// Batches of 1 to 4 transactions of up to 3,000 bytes, with rolls, until the power goes at the
/// nth operation. Returns the last acknowledged and the last written zxid.
fn write_until_power_cut(mem: &MemDisk, options: LogOptions, nth: u64) -> (i64, i64) {
    mem.fail(nth, Fault::PowerCut);
    let mut log = log(mem, options, 0);
    let mut acknowledged = 0;
    for batch in 1..=12i64 {
        for i in 0..1 + batch % 4 {
            let zxid = log.last_zxid() + 1;
            log.append(zxid, &txn(zxid, 40 + ((batch * 7 + i) % 5 * 700) as usize));
        }
        let done = if batch % 5 == 0 { log.roll() } else { log.commit() };
        if done.is_err() {
            break;
        }
        acknowledged = log.last_zxid();
    }
    (acknowledged, log.last_zxid())
}

#[test]
fn a_crash_at_any_operation_keeps_all_that_was_acknowledged() {
    // Zeros are written ahead to the file's end; only so far; never.
    for (preallocate, least) in [(8192, 30), (256 << 10, 30), (0, 24)] {
        let crashed = crash_at_every_operation(LogOptions { preallocate, ..SMALL });
        assert!(crashed > least, "{crashed} crash points, preallocating {preallocate}");
    }
}

/// Gives the number of operations.
fn crash_at_every_operation(options: LogOptions) -> u64 {
    for nth in 1.. {
        let mut finished = true;
        for seed in 0..40 {
            let mem = disk();
            let (acknowledged, written) = write_until_power_cut(&mem, options, nth);
            finished &= acknowledged == written;
            mem.crash(Unsynced::Some(seed * 1000 + nth));
            let zxids =
                read_after(&mem, None).unwrap_or_else(|e| panic!("op {nth} seed {seed}: {e}"));
            let n = zxids.len() as i64;
            assert_eq!(zxids, (1..=n).collect::<Vec<_>>(), "op {nth} seed {seed}");
            assert!(acknowledged <= n && n <= written, "op {nth}: {acknowledged} {n} {written}");
        }
        if finished {
            return nth - 1;
        }
    }
    0
}

#[test]
fn random_damage_never_panics_and_never_invents_a_transaction() {
    let clean = written(20, 300).peek(&path("log.1")).unwrap();
    let mut seed = 1u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % n
    };
    for _ in 0..3000 {
        let mem = written(20, 300);
        for _ in 0..1 + random(4) {
            let (at, len) = (random(clean.len()), 1 + random(40));
            let noise: Vec<u8> = (0..len).map(|_| random(256) as u8).collect();
            mem.poke(&path("log.1"), at, &noise);
        }
        // Also for its assertion that every record read is one that was written.
        if let Ok(zxids) = read_after(&mem, None) {
            assert_eq!(zxids, (1..=zxids.len() as i64).collect::<Vec<_>>());
        }
    }
}
