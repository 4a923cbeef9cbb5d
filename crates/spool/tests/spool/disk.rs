//! The file system under a spool.

use std::{fs, path::Path};

use lapwing_spool::{Disk, Options, RealDisk, Spool, sim::SimDisk};

use super::{all, fill, indexes, open, options};

fn open_real(path: &Path) -> Spool {
    let disk = Box::new(RealDisk::open(path).unwrap());
    Spool::open(disk, path.to_owned(), options()).unwrap().0
}

#[test]
fn a_name_that_was_never_synced_is_synced_before_it_is_relied_on() {
    let mut disk = SimDisk::default();
    // What a process leaves that is killed while it begins a segment.
    disk.create("00000000000000000001.spool").unwrap();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, 10);
    disk.crash(|_| 0);
    assert_eq!(indexes(&mut open(&disk).0), [1]);
}

#[test]
fn a_spool_on_a_real_disk_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_real(folder.path());
    fill(&mut spool, 20, 100);
    let before = all(&mut spool);
    drop(spool);
    assert_eq!(all(&mut open_real(folder.path())), before);
}

#[test]
fn bytes_are_rewritten_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::open(folder.path()).unwrap();
    let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| n as u8).collect();
    disk.create("file").unwrap();
    disk.append("file", &[&bytes]).unwrap();
    disk.rewrite("file", 100, (3 << 20) - 200).unwrap();
    assert!(disk.read("file", 0, 4 << 20).unwrap() == bytes);
    assert!(disk.rewrite("file", 3 << 20, 1).is_err());
}

#[test]
fn links_and_foreign_files_are_left_alone() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("target");
    fs::write(&target, "not ours").unwrap();
    let link = folder.path().join("00000000000000000001.spool");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let disk = Box::new(RealDisk::open(folder.path()).unwrap());
    let error = Spool::open(disk, folder.path().to_owned(), Options::default()).unwrap_err();
    assert!(error.to_string().contains("begin a segment"), "{error}");
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "not ours");
}

#[test]
fn many_segments_do_not_hold_a_descriptor_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_real(folder.path());
    fill(&mut spool, 900, 100);
    assert_eq!(all(&mut spool).len(), 900);
    let open = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(folder.path()))
        .count();
    assert!(fs::read_dir(folder.path()).unwrap().count() > 200);
    assert!(open <= 66, "{open} descriptors");
}
