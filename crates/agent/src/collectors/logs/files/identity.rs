//! What makes a file the same file.

use std::{fs::File, io, path::Path};

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, StatxTimestamp, statx};

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Nanoseconds since the Unix epoch; 0 where the file system has none.
    pub(super) birth_time: u64,
}

/// What the system says of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) identity: Identity,
    pub(super) size: u64,
    /// When its content changed last, nanoseconds since the Unix epoch.
    pub(super) modified: u64,
    pub(super) is_regular: bool,
    /// How many names lead to it.
    pub(super) links: u32,
    /// Whose it is.
    pub(super) owner: u32,
    /// No name leads to it any more.
    pub(super) is_unlinked: bool,
}

impl Identity {
    /// The source's name at the collector. The device is left out where birth times tell files apart: its number may
    /// change with a reboot.
    pub(super) fn key(&self) -> String {
        if self.birth_time == 0 {
            return format!("file:{:x}:{:x}", self.device, self.inode);
        }
        format!("file:{:x}@{:x}", self.inode, self.birth_time)
    }
}

impl About {
    pub(super) fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::BTIME)?))
    }

    /// Of what stands under a name itself, also when it is a link.
    pub(super) fn of_name(path: &Path) -> io::Result<Self> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        Ok(Self::new(&statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, mask)?))
    }

    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        Ok(Self::new(&statx(file, "", AtFlags::EMPTY_PATH, mask)?))
    }

    pub(super) fn new(stat: &Statx) -> Self {
        let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let identity = Identity {
            device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            birth_time: if has_birth { nanos(&stat.stx_btime) } else { 0 },
        };
        let kind = rustix::fs::FileType::from_raw_mode(stat.stx_mode.into());
        Self {
            identity,
            size: stat.stx_size,
            modified: nanos(&stat.stx_mtime),
            is_regular: kind == rustix::fs::FileType::RegularFile,
            links: stat.stx_nlink,
            owner: stat.stx_uid,
            is_unlinked: stat.stx_nlink == 0,
        }
    }
}

/// Nanoseconds since the Unix epoch; 0 for times before it.
pub(super) fn nanos(time: &StatxTimestamp) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(time.tv_nsec))
}
