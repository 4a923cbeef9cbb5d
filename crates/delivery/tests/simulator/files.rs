//! Log files of a host: they grow, are renamed, copied and truncated, removed, and their inodes are used again.

use lapwing::v1::{FilePosition, SourcePosition, source_position::Position};
use xxhash_rust::xxh3::xxh3_64;

use crate::bugs::{self, Driver};

/// First bytes that tell a file from another.
const HEAD: usize = 64;
/// Last bytes that were read, looked at again.
const TRACE: usize = 16;

pub(crate) struct LogFile {
    inode: u64,
    birth: u64,
    pub(crate) bytes: Vec<u8>,
}

impl LogFile {
    fn key(&self) -> String {
        match self.birth {
            _ if bugs::is(Driver::RotationByInodeOnly) => format!("file:{:x}", self.inode),
            0 => format!("file:1:{:x}", self.inode),
            birth => format!("file:{:x}@{birth:x}", self.inode),
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.bytes).lines().map(str::to_owned).collect()
    }
}

/// The newest file last; the others are rotated away.
pub(crate) struct Files {
    pub(crate) all: Vec<LogFile>,
    has_birth_times: bool,
    next_inode: u64,
    next_birth: u64,
    free: Vec<u64>,
}

impl Files {
    pub(crate) fn new(has_birth_times: bool) -> Self {
        let mut files =
            Self { all: Vec::new(), has_birth_times, next_inode: 10, next_birth: 1000, free: Vec::new() };
        files.rotate();
        files
    }

    /// The name goes to a new file.
    pub(crate) fn rotate(&mut self) {
        let inode = self.free.pop().unwrap_or_else(|| {
            self.next_inode += 1;
            self.next_inode
        });
        self.next_birth += 1;
        let birth = if self.has_birth_times { self.next_birth } else { 0 };
        self.all.push(LogFile { inode, birth, bytes: Vec::new() });
    }

    pub(crate) fn remove_oldest(&mut self) {
        self.free.push(self.all.remove(0).inode);
    }

    pub(crate) fn newest(&mut self) -> Option<&mut LogFile> {
        self.all.last_mut()
    }
}

/// A file as an agent follows it; mirrors `collectors/logs/files/file.rs`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tailed {
    pub(crate) key: String,
    inode: u64,
    birth: u64,
    generation: u32,
    pub(crate) offset: usize,
    head: Vec<u8>,
    trace: Vec<u8>,
    read: u64,
}

impl Tailed {
    /// Opens a file, and goes to where the collector holds it when its content is what was read then.
    pub(crate) fn open(file: &LogFile, held: &[SourcePosition]) -> Self {
        let key = file.key();
        let mut tailed = Self { key, inode: file.inode, birth: file.birth, ..Self::default() };
        let Some(held) = held.iter().find(|held| held.source == tailed.key) else { return tailed };
        let Some(Position::File(position)) = &held.position else { return tailed };
        (tailed.read, tailed.generation) = (held.events_read, position.generation);
        let head = file.bytes.get(..position.head_length as usize);
        let same = head.is_some_and(|head| xxh3_64(head) == position.head_hash);
        if (same || bugs::is(Driver::RotationByInodeOnly)) && file.bytes.len() >= position.offset as usize {
            tailed.head = head.unwrap_or_default().to_vec();
            tailed.go_to(file, position.offset as usize);
        } else {
            tailed.begin_anew();
        }
        tailed
    }

    pub(crate) fn is_of(&self, file: &LogFile) -> bool {
        (self.inode, self.birth) == (file.inode, file.birth)
    }

    fn go_to(&mut self, file: &LogFile, offset: usize) {
        self.trace = file.bytes[offset.saturating_sub(TRACE)..offset].to_vec();
        self.offset = offset;
    }

    fn begin_anew(&mut self) {
        self.generation += 1;
        self.head.clear();
        self.trace.clear();
        self.offset = 0;
    }

    /// Whole lines from where it is, at most `max`; nothing when there are none.
    pub(crate) fn read(&mut self, file: &LogFile, max: usize) -> Vec<String> {
        let seen = file.bytes.get(self.offset.saturating_sub(self.trace.len())..self.offset);
        if seen != Some(&self.trace[..]) {
            self.begin_anew();
        }
        let mut end = self.offset;
        let mut lines = Vec::new();
        for line in file.bytes[self.offset..].split_inclusive(|byte| *byte == b'\n').take(max) {
            end += line.len();
            lines.push(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned());
        }
        self.read += lines.len() as u64;
        self.go_to(file, end);
        if self.head.len() < HEAD.min(end) {
            self.head = file.bytes[..HEAD.min(end)].to_vec();
        }
        lines
    }

    pub(crate) fn position(&self) -> SourcePosition {
        SourcePosition {
            source: self.key.clone(),
            display_name: "app.log".to_owned(),
            position: Some(Position::File(FilePosition {
                device: 1,
                inode: self.inode,
                birth_time_unix_nano: self.birth,
                head_length: self.head.len() as u32,
                head_hash: xxh3_64(&self.head),
                generation: self.generation,
                offset: self.offset as u64,
                ..FilePosition::default()
            })),
            events_read: self.read,
            ..SourcePosition::default()
        }
    }
}
