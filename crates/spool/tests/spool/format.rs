//! The bytes of a segment outlive programs: docs/formats/spool.md draws them.

use bytes::Bytes;
use lapwing_spool::{Disk, Recovery, SpoolError, sim::SimDisk};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{all, open, options, try_open};

const NAME: &str = "00000000000000000007.spool";

fn fixture() -> String {
    format!("tests/fixtures/segment-v1/{NAME}")
}

fn payloads() -> [Bytes; 3] {
    [Bytes::from_static(b"one"), Bytes::new(), (0..=255).collect::<Vec<u8>>().into()]
}

/// A segment that begins with index 7 where 1 was next: a group of two records, and a group of one.
fn written() -> Vec<u8> {
    let disk = SimDisk::default();
    let (mut spool, _) = open(&disk);
    spool.advance(7).unwrap();
    let [one, two, three] = payloads();
    spool.append(&[one, two]).unwrap();
    spool.sync().unwrap();
    spool.append(&[three]).unwrap();
    spool.sync().unwrap();
    contents(&disk, NAME)
}

pub(crate) fn contents(disk: &SimDisk, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.edit(name, |file| bytes.clone_from(file));
    bytes
}

/// A disk with one file.
pub(crate) fn disk_with(name: &str, bytes: &[u8]) -> SimDisk {
    let mut disk = SimDisk::default();
    disk.create(name).unwrap();
    disk.append(name, &[bytes]).unwrap();
    disk
}

/// A record, written by the book and not by the code.
pub(crate) fn record(first: u64, index: u64, payload: &[u8], begins_group: bool) -> Vec<u8> {
    let salt = xxh3_64(&first.to_le_bytes());
    let length = payload.len() as u32 | u32::from(begins_group) << 31;
    let mut header = [0; 24];
    header[0..4].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&index.to_le_bytes());
    header[16..24].copy_from_slice(&xxh3_64(payload).to_le_bytes());
    let check = xxh3_64_with_seed(&header, salt) as u32;
    header[4..8].copy_from_slice(&check.to_le_bytes());
    [&header[..], payload].concat()
}

/// The header of a segment, written by the book.
pub(crate) fn head(version: u32, first: u64, expected: u64) -> [u8; 32] {
    let mut header = [0; 32];
    header[0..8].copy_from_slice(b"LWSPOOL\0");
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[16..24].copy_from_slice(&first.to_le_bytes());
    header[24..32].copy_from_slice(&expected.to_le_bytes());
    let check = xxh3_64(&header) as u32;
    header[12..16].copy_from_slice(&check.to_le_bytes());
    header
}

#[test]
fn what_version_one_wrote_is_read_the_same() {
    let stored = std::fs::read(fixture()).unwrap();
    let disk = disk_with(NAME, &stored);
    let (mut spool, report) = open(&disk);
    assert_eq!(report, Recovery { records: 3, ..Recovery::default() });
    assert_eq!(all(&mut spool), (7..).zip(payloads()).collect());
    assert_eq!(spool.stats().next, 10);
    assert_eq!(written(), stored, "what is written changed; a change of the format needs a new version");
}

#[test]
fn a_segment_written_by_the_book_is_what_the_code_writes() {
    let [one, two, three] = payloads();
    let parts = [
        head(1, 7, 1).to_vec(),
        record(7, 7, &one, true),
        record(7, 8, &two, false),
        record(7, 9, &three, true),
    ];
    assert_eq!(parts.concat(), written());
}

#[test]
fn a_segment_of_a_newer_version_is_refused_and_left_as_it_is() {
    let bytes = [&head(2, 7, 7)[..], b"what version two holds"].concat();
    let disk = disk_with(NAME, &bytes);
    let error = try_open(&disk, options()).unwrap_err();
    assert!(matches!(error, SpoolError::Version { version: 2, .. }), "{error}");
    assert!(error.to_string().contains(NAME));
    assert_eq!((disk.names(), contents(&disk, NAME)), (vec![NAME.to_owned()], bytes));
}

#[test]
#[ignore = "writes the fixture of a new format version"]
fn write_fixture() {
    std::fs::create_dir_all(std::path::Path::new(&fixture()).parent().unwrap()).unwrap();
    std::fs::write(fixture(), written()).unwrap();
}
