//! Looking at directories and repairing them, on a real file system.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use lapwing_spool::{
    DamageKind, RealDisk, Recovery, Spool, SpoolError,
    inspect::{Inspection, Inspector, find},
    repair::{Repair, repair},
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{all, options, payload};

const TIME: &str = "20260101T000000Z";

fn open(path: &Path) -> (Spool, Recovery) {
    Spool::open(Box::new(RealDisk::open(path).unwrap()), path.to_owned(), options()).unwrap()
}

/// Groups of one to three records in several segments; the last group is the newest segment's own.
fn directory(groups: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path());
    for group in 0..groups {
        let next = spool.stats().next;
        let records: Vec<Bytes> =
            (next..=next + group % 3).map(|index| payload(index, 20 + index as usize % 60)).collect();
        spool.append(&records).unwrap();
        spool.sync().unwrap();
    }
    folder
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "spool")).collect();
    all.sort();
    all
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for path in segments(from) {
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

fn look(path: &Path) -> Inspection {
    Inspector::open(path).unwrap().inspection().clone()
}

/// Every file and its bytes.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn read_all(path: &Path) -> BTreeMap<u64, Bytes> {
    let mut inspector = Inspector::open(path).unwrap();
    let places = inspector.places(1);
    places.iter().map(|place| (place.index, inspector.read(place).unwrap().unwrap())).collect()
}

#[test]
fn a_whole_spool_is_told_whole_with_every_record_and_nothing_is_touched() {
    let folder = directory(20);
    let before = contents(folder.path());
    let found = look(folder.path());
    assert!(found.is_whole() && found.tail.is_none() && found.holder.is_none(), "{found:?}");
    assert!(found.segments.len() > 3);
    let read = read_all(folder.path());
    assert_eq!(contents(folder.path()), before);
    let (mut spool, _) = open(folder.path());
    assert_eq!(read, all(&mut spool));
    assert_eq!(read.len() as u64, found.records());
}

#[test]
fn each_kind_of_damage_is_told_where_it_is() {
    let folder = directory(20);
    let names = segments(folder.path());
    flip(&names[0], 20);
    flip(&names[1], 32 + 24 + 3);
    flip(&names[2], 32 + 9);
    fs::remove_file(&names[3]).unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let found = look(folder.path());
    let kinds: Vec<_> =
        found.damage.iter().map(|damage| (damage.kind, damage.offset, damage.records)).collect();
    let expected =
        [(DamageKind::SegmentHeader, 0, 0), (DamageKind::Payload, 32, 1), (DamageKind::NoRecord, 32, 1)];
    assert_eq!(kinds, expected);
    assert_eq!(found.missing.len(), 1);
    assert_eq!(found.foreign, ["notes.txt"]);
    assert!(!found.is_whole());
    let (_, recovery) = open(folder.path());
    assert_eq!(found.lost(), recovery.damaged_records + recovery.missing_records);
}

#[test]
fn a_torn_end_is_in_progress_while_a_writer_is_there_and_no_damage_afterwards() {
    let folder = directory(20);
    let (spool, _) = open(folder.path());
    let newest = segments(folder.path()).pop().unwrap();
    let torn = || {
        use std::io::Write;
        OpenOptions::new().append(true).open(&newest).unwrap().write_all(&[7; 30]).unwrap();
    };
    torn();
    let found = look(folder.path());
    let tail = found.tail.clone().unwrap();
    assert!(found.is_whole() && tail.in_progress && tail.bytes == 30, "{found:?}");
    assert_eq!(found.holder.unwrap().pid, std::process::id());
    assert!(matches!(repair(folder.path(), TIME), Err(SpoolError::Locked { .. })));
    drop(spool);
    let tail = look(folder.path()).tail.unwrap();
    assert!(!tail.in_progress && tail.records == 2, "{tail:?}");
}

#[test]
fn the_spool_is_found_in_the_directory_above() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(find(folder.path()), None);
    for name in ["journal", "spool"] {
        let own = folder.path().join(name);
        drop(open(&own));
        assert_eq!(find(folder.path()), Some(own.clone()));
        assert_eq!(find(&own), Some(own));
    }
}

#[test]
fn a_segment_of_which_nothing_is_left_is_set_aside_and_an_empty_one_keeps_its_place() {
    let folder = directory(20);
    let names = segments(folder.path());
    let bytes = fs::read(&names[1]).unwrap();
    fs::write(&names[1], vec![0; bytes.len()]).unwrap();
    let before = look(folder.path());
    let repaired = repair(folder.path(), TIME).unwrap();
    let name = names[1].file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(repaired.set_aside, [(name.clone(), bytes.len() as u64)]);
    assert_eq!(fs::read(repaired.kept_in.unwrap().join(&name)).unwrap(), vec![0; bytes.len()]);
    let after = look(folder.path());
    assert!(after.damage.is_empty(), "{after:?}");
    assert_eq!((after.records(), after.lost()), (before.records(), before.lost()));
    assert!(Repair::plan(&after).is_empty());
}

#[derive(Debug, Clone)]
enum Harm {
    Flip(usize, usize),
    Truncate(usize, usize),
    Zero(usize),
    Remove(usize),
    Append(usize, u8),
}

fn harm() -> impl Strategy<Value = Harm> {
    let (file, offset) = (0..100_usize, 0..10_000_usize);
    prop_oneof![
        6 => (file.clone(), offset.clone()).prop_map(|(file, offset)| Harm::Flip(file, offset)),
        3 => (file.clone(), offset).prop_map(|(file, offset)| Harm::Truncate(file, offset)),
        1 => file.clone().prop_map(Harm::Zero),
        1 => file.clone().prop_map(Harm::Remove),
        1 => (file, any::<u8>()).prop_map(|(file, byte)| Harm::Append(file, byte)),
    ]
}

fn hurt(folder: &Path, harm: &Harm) {
    let names = segments(folder);
    let (Harm::Flip(file, _)
    | Harm::Truncate(file, _)
    | Harm::Zero(file)
    | Harm::Remove(file)
    | Harm::Append(file, _)) = harm;
    let Some(path) = names.get(file % names.len().max(1)) else { return };
    let bytes = fs::read(path).unwrap();
    match harm {
        Harm::Flip(_, offset) if !bytes.is_empty() => flip(path, (offset % bytes.len()) as u64),
        Harm::Truncate(_, length) => fs::write(path, &bytes[..length % (bytes.len() + 1)]).unwrap(),
        Harm::Zero(_) => fs::write(path, vec![0; bytes.len()]).unwrap(),
        Harm::Remove(_) => fs::remove_file(path).unwrap(),
        Harm::Append(_, byte) => fs::write(path, [bytes, vec![*byte; 60]].concat()).unwrap(),
        Harm::Flip(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_repaired_spool_reads_what_recovery_reads_without_the_repair(
        groups in 1..16_u64,
        harms in prop::collection::vec(harm(), 1..4),
    ) {
        let folder = directory(groups);
        harms.iter().for_each(|harm| hurt(folder.path(), harm));
        let twin = copy(folder.path());
        let before = look(folder.path());
        let planned = Repair::plan(&before);
        let repaired = repair(folder.path(), TIME).unwrap();
        prop_assert_eq!(&planned.cut, &repaired.cut);
        prop_assert_eq!(planned.is_empty(), repaired.kept_in.is_none());

        let (mut expected, untouched) = open(twin.path());
        let (mut found, recovery) = open(folder.path());
        let records = all(&mut expected);
        prop_assert_eq!(&all(&mut found), &records);
        for (index, payload) in &records {
            prop_assert_eq!(payload, &super::payload(*index, 20 + *index as usize % 60));
        }
        prop_assert_eq!(before.records(), records.len() as u64);
        prop_assert_eq!(before.lost(), untouched.damaged_records + untouched.missing_records);
        prop_assert_eq!(recovery.damaged_records + recovery.missing_records, before.lost());
        prop_assert_eq!(recovery.damaged_segments, 0);
        prop_assert_eq!(found.stats().next, expected.stats().next);
        drop(found);
        let after = look(folder.path());
        prop_assert!(Repair::plan(&after).is_empty(), "{:?}", after);
        prop_assert_eq!(repair(folder.path(), "again").unwrap(), Repair::default());
    }
}
