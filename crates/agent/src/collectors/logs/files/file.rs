//! One file being followed.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

use bytes::Bytes;
use lapwing::{
    columns::Text,
    v1::{FilePosition, SourcePosition, source_position::Position},
};
use memchr::memchr;
use rustix::{buffer::spare_capacity, io::pread};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    copy, holes,
    identity::{About, Identity},
    lines::{self, Cut},
    names,
};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// First bytes of a file that tell it from another.
const HEAD: usize = 1024;
/// Last bytes that were read, looked at again with the next ones: a file may be truncated and have grown beyond the old size
/// since the last look, and its size tells nothing then.
const TRACE: usize = 64;
/// Chunks looked through for the end of an overlong line before other files have their turn.
const SEARCH_CHUNKS: usize = 16;

/// Bounds on a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_line: usize,
    pub(super) max_rows: u32,
}

/// What one step of reading gave.
#[derive(Debug)]
pub(super) enum Step {
    /// Whole lines, and whether there was more to read.
    Lines { data: Bytes, rows: u32, truncated: bool, more: bool },
    /// Nothing yet, but there is more to look at.
    Searching,
    /// Everything is read, up to a last line that may wait for its end.
    Idle,
    /// The file was truncated or its content replaced: it begins anew.
    Truncated,
}

/// What was read of a source, in all of the runs that read it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Events {
    pub(super) read: u64,
    pub(super) truncated: u64,
}

/// A file that is open, and up to where it is read.
#[derive(Debug)]
pub(super) struct TailedFile {
    file: File,
    /// The file itself, while what was truncated is read from a copy.
    truncated: Option<File>,
    key: String,
    identity: Identity,
    path: PathBuf,
    source: Text,
    generation: u32,
    /// First byte of the first line that was not given out.
    offset: u64,
    /// No line ends between `offset` and here.
    searched: u64,
    head: Vec<u8>,
    /// The bytes before `offset`.
    trace: Vec<u8>,
    events: Events,
    /// Since when no glob leads to it.
    pub(super) gone_since: Option<Instant>,
    /// When it last grew.
    pub(super) grew: Instant,
}

impl AsRawFd for TailedFile {
    fn as_raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

impl TailedFile {
    /// Opens a regular file at its beginning; its lines and positions call it `name`. `None` for what is no regular file.
    pub(super) fn open(path: &Path, name: &Path) -> io::Result<Option<Self>> {
        // A pipe or device must not block the open.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let about = About::of_file(&file)?;
        if !about.is_regular {
            return Ok(None);
        }
        Ok(Some(Self {
            file,
            truncated: None,
            key: about.identity.key(),
            identity: about.identity,
            path: name.to_owned(),
            source: names::display(name).into(),
            generation: 0,
            offset: 0,
            searched: 0,
            head: Vec::new(),
            trace: Vec::new(),
            events: Events::default(),
            gone_since: None,
            grew: Instant::now(),
        }))
    }

    /// Goes to where the collector holds it; to the beginning when its content is not what was read then. Counts go on.
    pub(super) fn resume(&mut self, held: &FilePosition, events: Events) -> io::Result<bool> {
        self.events = events;
        self.generation = held.generation;
        let head = self.read_at(0, held.head_length as usize)?;
        let same = head.len() == held.head_length as usize && xxh3_64(&head) == held.head_hash;
        if !same || About::of_file(&self.file)?.size < held.offset {
            self.begin_anew();
            return Ok(false);
        }
        self.head = head;
        self.go_to(held.offset)?;
        Ok(true)
    }

    /// Goes behind the last whole line that is there now.
    pub(super) fn skip_to_end(&mut self) -> io::Result<()> {
        let size = About::of_file(&self.file)?.size;
        let last = size.saturating_sub(CHUNK as u64);
        let tail = self.read_at(last, CHUNK)?;
        let end = memchr::memrchr(b'\n', &tail).map_or(size, |end| last + end as u64 + 1);
        self.go_to(end)?;
        self.grow_head()
    }

    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let back = TRACE.min(usize::try_from(offset).unwrap_or(TRACE));
        self.trace = self.read_at(offset - back as u64, back)?;
        self.moved(offset);
        Ok(())
    }

    fn moved(&mut self, offset: u64) {
        self.offset = offset;
        self.searched = offset;
    }

    fn begin_anew(&mut self) {
        self.generation += 1;
        self.head.clear();
        self.trace.clear();
        self.moved(0);
    }

    /// The source's name at the collector.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// What its lines name as their source.
    pub(super) fn source(&self) -> Text {
        self.source.clone()
    }

    /// The name it was found under first.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// No line ends between what was given out and here.
    pub(super) fn searched(&self) -> u64 {
        self.searched
    }

    /// Whether its name leads to it, or can't be looked at: a scan that could not read a directory is no news of a file.
    pub(super) fn may_still_have_its_name(&self) -> bool {
        match About::of_path(&self.path) {
            Ok(about) => about.identity == self.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether no name at all leads to it.
    pub(super) fn is_unlinked(&self) -> bool {
        About::of_file(&self.file).is_ok_and(|about| about.is_unlinked)
    }

    /// Whether there is something that was not looked at.
    pub(super) fn has_more(&self) -> bool {
        About::of_file(&self.file).is_ok_and(|about| about.size != self.searched)
    }

    /// Reads the next run of lines.
    pub(super) fn step(&mut self, bounds: Bounds) -> io::Result<Step> {
        match self.look(bounds)? {
            Step::Idle if self.truncated.is_some() => {
                // Nobody will end the copy's last line.
                let last = self.unfinished_line(bounds)?;
                self.leave_copy();
                Ok(last.unwrap_or(Step::Searching))
            }
            step => Ok(step),
        }
    }

    /// The file was truncated: goes on in its copy, or begins anew.
    fn truncate(&mut self) -> Step {
        let read =
            copy::Read { identity: self.identity, offset: self.offset, head: &self.head, trace: &self.trace };
        if self.truncated.is_none()
            && let Some(copy) = copy::find(&self.path, read)
        {
            self.truncated = Some(std::mem::replace(&mut self.file, copy));
            self.moved(self.offset);
        } else {
            self.leave_copy();
        }
        Step::Truncated
    }

    fn leave_copy(&mut self) {
        if let Some(file) = self.truncated.take() {
            self.file = file;
        }
        self.begin_anew();
    }

    fn look(&mut self, bounds: Bounds) -> io::Result<Step> {
        let size = About::of_file(&self.file)?.size;
        if size < self.searched {
            return Ok(self.truncate());
        }
        if size == self.searched {
            return Ok(Step::Idle);
        }
        if self.searched - self.offset > bounds.max_line as u64 {
            return self.search_end(bounds);
        }
        let length = usize::try_from(size - self.offset).unwrap_or(usize::MAX);
        let back = self.trace.len();
        let wanted = length.min(CHUNK.max(bounds.max_line + 1));
        let mut chunk = self.read_at(self.offset - back as u64, back + wanted)?;
        if chunk.get(..back) != Some(&self.trace) {
            return Ok(self.truncate());
        }
        match lines::cut(&chunk[back..], bounds.max_line, bounds.max_rows) {
            Cut::Lines { bytes, rows } => {
                let more = wanted < length || rows == bounds.max_rows;
                chunk.truncate(back + bytes);
                self.trace.clear();
                self.trace.extend_from_slice(&chunk[chunk.len().saturating_sub(TRACE)..]);
                self.moved(self.offset + bytes as u64);
                self.give(Bytes::from(chunk).slice(back..), rows, false, more)
            }
            Cut::TooLong { bytes } => {
                let line = cut_line(&chunk[back..], bounds.max_line);
                self.go_to(self.offset + bytes as u64)?;
                self.give(line, 1, true, true)
            }
            Cut::Unfinished => {
                self.searched = self.offset + (chunk.len() - back) as u64;
                let more = self.searched < size;
                Ok(if more { Step::Searching } else { Step::Idle })
            }
        }
    }

    /// Looks for the end of a line that is too long already; what is beyond the limit is not kept.
    fn search_end(&mut self, bounds: Bounds) -> io::Result<Step> {
        for _ in 0..SEARCH_CHUNKS {
            // No line ends in a hole.
            self.searched = holes::next_data(&self.file, self.searched)?;
            let chunk = self.read_at(self.searched, CHUNK)?;
            if chunk.is_empty() {
                return Ok(Step::Idle);
            }
            if let Some(end) = memchr(b'\n', &chunk) {
                let line = cut_line(&self.read_at(self.offset, bounds.max_line)?, bounds.max_line);
                self.go_to(self.searched + end as u64 + 1)?;
                return self.give(line, 1, true, true);
            }
            self.searched += chunk.len() as u64;
        }
        Ok(Step::Searching)
    }

    /// The last line of a file that nobody will end any more.
    pub(super) fn unfinished_line(&mut self, bounds: Bounds) -> io::Result<Option<Step>> {
        let size = About::of_file(&self.file)?.size;
        let line = self.read_at(self.offset, bounds.max_line)?;
        if line.is_empty() || size < self.offset {
            return Ok(None);
        }
        // Should it have been ended meanwhile, it is a line like any other.
        let taken = memchr(b'\n', &line).map_or(size - self.offset, |end| end as u64 + 1);
        let truncated = taken > bounds.max_line as u64 + 1;
        self.go_to(self.offset + taken)?;
        self.give(cut_line(&line, bounds.max_line), 1, truncated, false).map(Some)
    }

    fn give(&mut self, data: Bytes, rows: u32, truncated: bool, more: bool) -> io::Result<Step> {
        self.grew = Instant::now();
        self.events.read += u64::from(rows);
        self.events.truncated += u64::from(truncated);
        self.grow_head()?;
        Ok(Step::Lines { data, rows, truncated, more })
    }

    /// Keeps the first bytes, as far as the file is read.
    fn grow_head(&mut self) -> io::Result<()> {
        let wanted = HEAD.min(usize::try_from(self.offset).unwrap_or(HEAD));
        if self.head.len() < wanted {
            self.head = self.read_at(0, wanted)?;
        }
        Ok(())
    }

    /// Up to where it is read.
    pub(super) fn position(&self, closed: bool) -> SourcePosition {
        SourcePosition {
            source: self.key.clone(),
            display_name: names::display(&self.path),
            closed,
            position: Some(Position::File(FilePosition {
                device: self.identity.device,
                inode: self.identity.inode,
                birth_time_unix_nano: self.identity.birth_time,
                head_length: self.head.len() as u32,
                head_hash: xxh3_64(&self.head),
                generation: self.generation,
                offset: self.offset,
            })),
            events_read: self.events.read,
            events_truncated: self.events.truncated,
            ..SourcePosition::default()
        }
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            match pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A line cut to the limit and given an end; not inside a character when it is UTF-8.
fn cut_line(line: &[u8], max_line: usize) -> Bytes {
    let end = memchr(b'\n', line).unwrap_or(line.len());
    let mut line = &line[..end.min(max_line)];
    if let Err(error) = std::str::from_utf8(line)
        && error.error_len().is_none()
    {
        line = &line[..error.valid_up_to()];
    }
    [line, b"\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    const BOUNDS: Bounds = Bounds { max_line: 1000, max_rows: 100_000 };

    struct Case {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Case {
        fn new(content: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.log");
            fs::write(&path, content).unwrap();
            Self { _folder: folder, path }
        }

        fn append(&self, content: &[u8]) {
            OpenOptions::new().append(true).open(&self.path).unwrap().write_all(content).unwrap();
        }

        fn open(&self) -> TailedFile {
            TailedFile::open(&self.path, &self.path).unwrap().unwrap()
        }
    }

    fn read_all(file: &mut TailedFile) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match file.step(BOUNDS).unwrap() {
                Step::Lines { data, rows, .. } => {
                    assert_eq!(data.iter().filter(|byte| **byte == b'\n').count(), rows as usize);
                    all.extend_from_slice(&data);
                }
                Step::Idle => return all,
                Step::Searching | Step::Truncated => {}
            }
        }
    }

    fn held(file: &TailedFile) -> FilePosition {
        match file.position(false).position {
            Some(Position::File(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_last_line_waits_for_its_end() {
        let case = Case::new(b"one\ntw");
        let mut file = case.open();
        assert_eq!(read_all(&mut file), b"one\n");
        assert!(!file.has_more());
        case.append(b"o\n");
        assert!(file.has_more());
        assert_eq!(read_all(&mut file), b"two\n");
    }

    #[test]
    fn what_was_read_is_not_read_again_after_a_resume() {
        let case = Case::new(b"one\ntwo\npart");
        let mut file = case.open();
        read_all(&mut file);
        let position = held(&file);
        case.append(b"ial\nlast\n");
        let mut again = case.open();
        assert!(again.resume(&position, Events::default()).unwrap());
        assert_eq!(read_all(&mut again), b"partial\nlast\n");
    }

    #[test]
    fn other_content_under_the_same_identity_begins_anew() {
        let case = Case::new(b"one\ntwo\n");
        let mut file = case.open();
        read_all(&mut file);
        let position = held(&file);
        fs::write(&case.path, b"other content, longer than before\n").unwrap();
        let mut again = case.open();
        assert!(!again.resume(&position, Events::default()).unwrap());
        assert_eq!(read_all(&mut again), b"other content, longer than before\n");
        assert_eq!(held(&again).generation, 1);
        assert_eq!(
            read_all(&mut file),
            b"other content, longer than before\n",
            "the running reader sees it, too"
        );
    }

    #[test]
    fn a_file_that_was_truncated_and_grew_beyond_its_old_size_begins_anew_also_with_the_same_first_lines() {
        let banner = "starting up\n".repeat(200);
        let case = Case::new(format!("{banner}one\n").as_bytes());
        let mut file = case.open();
        read_all(&mut file);
        let new = format!("{banner}two\nthree\n");
        fs::write(&case.path, &new).unwrap();
        assert_eq!(read_all(&mut file), new.as_bytes());
    }

    #[test]
    fn a_truncated_file_begins_anew() {
        let case = Case::new(b"one\ntwo\n");
        let mut file = case.open();
        read_all(&mut file);
        fs::write(&case.path, b"3\n").unwrap();
        assert_eq!(read_all(&mut file), b"3\n");
        assert_eq!(held(&file).generation, 1);
    }

    #[test]
    fn what_was_truncated_before_it_was_read_is_read_from_the_copy() {
        let case = Case::new(b"one\ntwo\n");
        let mut file = case.open();
        read_all(&mut file);
        case.append(b"three\nfour\nhalf");
        fs::copy(&case.path, case.path.with_extension("log.1")).unwrap();
        fs::write(case.path.with_extension("log.2"), "another file, longer than that\n").unwrap();
        fs::write(&case.path, b"5\n").unwrap();
        assert_eq!(read_all(&mut file), b"three\nfour\nhalf\n5\n");
        assert_eq!((held(&file).generation, file.events.read), (1, 6));
        case.append(b"6\n");
        assert_eq!(read_all(&mut file), b"6\n");
    }

    #[test]
    fn an_overlong_line_is_cut_and_its_rest_is_left_out() {
        for length in [1001, 5000, CHUNK, 3 * CHUNK + 7, 40 * CHUNK] {
            let mut content = vec![b'x'; length];
            content.extend_from_slice(b"\nnext\n");
            let case = Case::new(&content);
            let mut file = case.open();
            let all = read_all(&mut file);
            assert_eq!(all.len(), 1000 + 1 + 5, "{length}");
            assert!(all.ends_with(b"x\nnext\n"));
            assert_eq!(held(&file).offset, content.len() as u64);
        }
    }

    #[test]
    fn a_hole_of_terabytes_is_skipped() {
        let case = Case::new(b"");
        let file = fs::OpenOptions::new().write(true).open(&case.path).unwrap();
        file.set_len(4 << 40).unwrap();
        drop(file);
        case.append(b"end\nnext\n");
        let mut tailed = case.open();
        let mut steps = 0;
        let mut lines = Vec::new();
        while lines.is_empty() {
            steps += 1;
            assert!(steps < 100, "the hole is read");
            if let Step::Lines { data, truncated: true, .. } = tailed.step(BOUNDS).unwrap() {
                lines.push(data);
            }
        }
        assert_eq!(read_all(&mut tailed), b"next\n");
    }

    #[test]
    fn an_overlong_line_is_not_cut_inside_a_character() {
        let case = Case::new(format!("{}\u{20ac}\u{20ac}\u{20ac}\n", "x".repeat(998)).as_bytes());
        let all = read_all(&mut case.open());
        assert_eq!(all, [vec![b'x'; 998], vec![b'\n']].concat());
    }

    #[test]
    fn a_last_line_that_nobody_ends_is_given_out_when_the_file_is_closed_and_one_that_was_ended_is_one_line()
    {
        let case = Case::new(b"one\nlast");
        let mut file = case.open();
        read_all(&mut file);
        let Some(Step::Lines { data, rows: 1, .. }) = file.unfinished_line(BOUNDS).unwrap() else { panic!() };
        assert_eq!(&data[..], b"last\n");
        assert!(file.unfinished_line(BOUNDS).unwrap().is_none());
        case.append(b"more\nand\n");
        let Some(Step::Lines { data, rows: 1, .. }) = file.unfinished_line(BOUNDS).unwrap() else { panic!() };
        assert_eq!(&data[..], b"more\n");
        assert_eq!(read_all(&mut file), b"and\n");
    }

    #[test]
    fn starting_at_the_end_leaves_out_whole_lines_only() {
        let case = Case::new(b"old\nhalf");
        let mut file = case.open();
        file.skip_to_end().unwrap();
        case.append(b" done\n");
        assert_eq!(read_all(&mut file), b"half done\n");
    }

    #[test]
    fn a_pipe_is_no_log_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(TailedFile::open(&path, &path).unwrap().is_none());
    }
}
