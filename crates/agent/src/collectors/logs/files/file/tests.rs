//! What a reader gives of a file, whatever is done to it.

mod rewritten;

use std::{fs, io::Write};

use super::*;
use crate::collectors::logs::files::FileIdentity::{Auto, Inode};

const BOUNDS: Bounds = Bounds { max_line: 1000, max_rows: 100_000, unfinished: None, identity: Auto };
/// A last line is not waited for.
const AT_ONCE: Bounds = Bounds { unfinished: Some(Duration::ZERO), ..BOUNDS };

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
            _ => {}
        }
    }
}

/// All that is given out at once, each run with what it is of its line.
fn read_parts(file: &mut TailedFile, bounds: Bounds) -> Vec<(String, LinePart)> {
    let mut all = Vec::new();
    loop {
        match file.step(bounds).unwrap() {
            Step::Lines { data, part, .. } => all.push((String::from_utf8(data.to_vec()).unwrap(), part)),
            Step::Idle => return all,
            _ => {}
        }
    }
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("2026-11-28 line number {n} of the log\n")).collect()
}

/// A reader that goes on where another was.
fn resumed(case: &Case, file: &TailedFile) -> TailedFile {
    let mut again = case.open();
    again.resume(&held(file), file.events.clone(), Auto).unwrap();
    again
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
    assert_eq!(again.resume(&position, Events::default(), Auto).unwrap(), Resumed::Same);
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
    assert!(matches!(
        again.resume(&position, Events::default(), Auto).unwrap(),
        Resumed::Changed(Change::Anew { .. })
    ));
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
    let case = Case::new(format!("{banner}{}", lines(0..200)).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    let position = held(&file);
    let new = format!("{banner}{}", lines(1000..1300));
    fs::write(&case.path, &new).unwrap();
    assert_eq!(read_all(&mut file), new.as_bytes());

    let mut again = case.open();
    let resumed = again.resume(&position, Events::default(), Auto).unwrap();
    assert_eq!(resumed, Resumed::Changed(Change::Anew { lost: 0 }));
    assert_eq!(read_all(&mut again), new.as_bytes());
    assert_eq!(again.events.dropped[GONE], 1, "what was written before it was truncated is not known");
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
fn an_overlong_line_is_not_cut_inside_a_character() {
    let case = Case::new(format!("{}\u{20ac}\u{20ac}\u{20ac}\n", "x".repeat(998)).as_bytes());
    let all = read_all(&mut case.open());
    assert_eq!(all, [vec![b'x'; 998], vec![b'\n']].concat());
}

#[test]
fn a_last_line_that_nobody_ends_is_given_out_when_the_file_is_closed_and_one_that_was_ended_is_one_line() {
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

#[test]
fn what_copytruncate_moved_while_nobody_read_is_read_from_the_copy() {
    let case = Case::new(b"one\ntwo\n");
    let mut file = case.open();
    read_all(&mut file);
    case.append(b"three\n");
    fs::copy(&case.path, case.path.with_extension("log.1")).unwrap();
    fs::write(&case.path, b"four, which is longer than what was there\n").unwrap();
    let mut again = resumed(&case, &file);
    assert_eq!(read_all(&mut again), b"three\nfour, which is longer than what was there\n");
    assert!(again.events.dropped.is_empty());
}

#[test]
fn what_copytruncate_moved_is_read_from_a_compressed_copy() {
    for name in ["a.log.1.gz", "a.log.1.zst"] {
        let case = Case::new(lines(0..20_000).as_bytes());
        let mut file = case.open();
        read_all(&mut file);
        case.append(lines(20_000..40_000).as_bytes());
        let all = fs::read(&case.path).unwrap();
        let copy = case.path.with_file_name(name);
        if name.ends_with("gz") {
            let mut gzip =
                flate2::write::GzEncoder::new(fs::File::create(copy).unwrap(), flate2::Compression::fast());
            gzip.write_all(&all).unwrap();
            gzip.finish().unwrap();
        } else {
            fs::write(copy, zstd::stream::encode_all(&all[..], 1).unwrap()).unwrap();
        }
        fs::write(&case.path, b"next\n").unwrap();
        let mut away = resumed(&case, &file);
        let expected = [lines(20_000..40_000).as_bytes(), b"next\n"].concat();
        assert!(read_all(&mut file) == expected, "{name}");
        assert!(read_all(&mut away) == expected, "{name}");
    }
}

#[test]
fn a_copy_is_found_beside_what_a_link_leads_to() {
    let case = Case::new(b"one\ntwo\n");
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("x.log");
    std::os::unix::fs::symlink(&case.path, &link).unwrap();
    let mut file = TailedFile::open(&link, &link).unwrap().unwrap();
    read_all(&mut file);
    assert_eq!(held(&file).target, case.path.canonicalize().unwrap().to_str().unwrap());
    case.append(b"three\n");
    fs::copy(&case.path, case.path.with_extension("log.1")).unwrap();
    fs::write(&case.path, b"4\n").unwrap();
    let mut again = TailedFile::open(&link, &link).unwrap().unwrap();
    again.resume(&held(&file), Events::default(), Auto).unwrap();
    assert_eq!(read_all(&mut file), b"three\n4\n");
    assert_eq!(read_all(&mut again), b"three\n4\n");
}

#[test]
fn what_a_truncation_took_that_was_seen_is_counted() {
    let case = Case::new(b"one\ntwo\nhalf");
    let mut file = case.open();
    read_all(&mut file);
    fs::write(&case.path, b"3\n").unwrap();
    let Step::Changed(Change::Anew { lost: 4 }) = file.step(BOUNDS).unwrap() else { panic!() };
    assert_eq!(read_all(&mut file), b"3\n");
    assert_eq!((file.events.read, file.events.dropped[GONE]), (4, 1));
}

#[test]
fn a_closing_line_that_each_record_overwrites_gives_each_record_once() {
    let case = Case::new(b"[\n]\n");
    let mut file = case.open();
    let mut all = read_all(&mut file);
    for id in 0..300 {
        let mut content = fs::read(&case.path).unwrap();
        content.truncate(content.len() - 2);
        content.extend_from_slice(format!(",{{\"id\":{id}}}\n]\n").as_bytes());
        OpenOptions::new().write(true).open(&case.path).unwrap().write_all(&content).unwrap();
        // The agent is started anew now and then.
        file = if id % 10 == 0 { resumed(&case, &file) } else { file };
        all.extend(read_all(&mut file));
    }
    let text = String::from_utf8(all).unwrap();
    let records: Vec<&str> = text.lines().filter(|line| line.contains("id")).collect();
    let expected: Vec<String> = (0..300).map(|id| format!(",{{\"id\":{id}}}")).collect();
    assert_eq!(records, expected);
    assert_eq!(text.lines().count(), 300 + 301 + 1);
}

#[test]
fn lines_come_as_space_that_was_reserved_is_filled() {
    for size in [4 << 10, 1 << 20, 4 << 20] {
        let case = Case::new(&vec![0; size]);
        let writer = OpenOptions::new().write(true).open(&case.path).unwrap();
        let mut file = case.open();
        assert_eq!(read_all(&mut file), b"");
        let mut at = 0;
        for n in 0..50 {
            let line = lines(n..n + 1);
            std::os::unix::fs::FileExt::write_all_at(&writer, line.as_bytes(), at).unwrap();
            at += line.len() as u64;
            file = if n % 10 == 9 { resumed(&case, &file) } else { file };
            assert_eq!(String::from_utf8(read_all(&mut file)).unwrap(), line, "{n} of {size}");
            assert!(!file.has_more());
        }
        case.append(b"behind the space\n");
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut last = Vec::new();
        while last.is_empty() && Instant::now() < deadline {
            last = read_all(&mut file);
        }
        assert_eq!(last, b"behind the space\n");
    }
}

#[test]
fn a_last_line_without_an_end_is_given_out_in_parts_that_together_are_the_line() {
    let case = Case::new(b"one\npan");
    let mut file = case.open();
    let part = |text: &str, part| (text.to_owned(), part);
    let given = read_parts(&mut file, AT_ONCE);
    assert_eq!(given, [part("one\n", LinePart::Whole), part("pan\n", LinePart::First)]);
    case.append(b"ic\xe2\x82");
    file = resumed(&case, &file);
    assert_eq!(read_parts(&mut file, AT_ONCE), [part("ic\n", LinePart::Next)]);
    assert!(read_parts(&mut file, AT_ONCE).is_empty());
    case.append(b"\xac\r\nnext\n");
    file = resumed(&case, &file);
    let given = read_parts(&mut file, AT_ONCE);
    assert_eq!(given, [part("\u{20ac}\n", LinePart::Last), part("next\n", LinePart::Whole)]);

    case.append(b"bare");
    assert_eq!(read_parts(&mut file, AT_ONCE), [part("bare\n", LinePart::First)]);
    case.append(b"\n");
    file = resumed(&case, &file);
    assert!(read_parts(&mut file, AT_ONCE).is_empty());
    assert_eq!(
        (held(&file).offset, held(&file).within_line),
        (fs::metadata(&case.path).unwrap().len(), false)
    );
    assert_eq!(file.events.read, 6);
}

#[test]
fn a_file_that_was_written_anew_with_the_same_content_is_not_read_again() {
    let case = Case::new(lines(0..1000).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    for bytes in [lines(500..1000), lines(500..1010), lines(500..1007), lines(500..1006) + "new\n"] {
        let before = file.events.read;
        let (mut there, mut away) = (file, case.open());
        let position = held(&there);
        fs::write(&case.path, &bytes).unwrap();
        let again = away.resume(&position, there.events.clone(), Auto).unwrap();
        let given = [read_all(&mut there), read_all(&mut there), read_all(&mut there)].concat();
        let given_away = read_all(&mut away);
        assert_eq!(
            String::from_utf8_lossy(&given),
            String::from_utf8_lossy(&given_away),
            "{again:?}, {before}"
        );
        assert!(given.len() < 500, "{}", String::from_utf8_lossy(&given));
        file = there;
    }
    let Step::Idle = file.step(BOUNDS).unwrap() else { panic!() };
    assert_eq!(file.events.read, 1000 + 10 + 1);
}

#[test]
fn without_content_as_identity_a_changed_file_is_read_from_its_beginning() {
    let case = Case::new(lines(0..100).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    let new = lines(0..99) + "other\nand more lines\n";
    fs::write(&case.path, &new).unwrap();
    let Step::Changed(Change::Anew { .. }) = file.step(Bounds { identity: Inode, ..BOUNDS }).unwrap() else {
        panic!()
    };
    assert_eq!(read_all(&mut file), new.as_bytes());
}

#[test]
fn marks_and_carriage_returns_are_no_part_of_a_line() {
    let case = Case::new(b"\xef\xbb\xbf{\"a\":1}\r\n10 %\r20 %\r\nlast\n");
    let mut file = case.open();
    assert_eq!(read_all(&mut file), b"{\"a\":1}\n10 %\r20 %\nlast\n");
    assert_eq!(held(&file).offset, fs::metadata(&case.path).unwrap().len());
}

#[test]
fn utf16_is_reported_once_and_not_read() {
    let case = Case::new(b"\xff\xfeo\0n\0e\0\n\0");
    let mut file = case.open();
    assert!(matches!(file.step(AT_ONCE).unwrap(), Step::Unsupported));
    case.append(b"t\0\n\0");
    assert!(matches!(file.step(AT_ONCE).unwrap(), Step::Idle));
    assert!(file.unfinished_line(AT_ONCE).unwrap().is_none());
    assert_eq!((file.events.read, file.events.dropped[UTF16]), (1, 1));
    let mut again = resumed(&case, &file);
    assert!(!matches!(again.step(AT_ONCE).unwrap(), Step::Unsupported));
}

#[test]
fn a_position_of_an_agent_that_told_less_is_resumed() {
    let case = Case::new(lines(0..100).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    case.append(b"new\n");
    let now = held(&file);
    let old = FilePosition {
        device: now.device,
        inode: now.inode,
        birth_time_unix_nano: now.birth_time_unix_nano,
        head_length: 1024,
        head_hash: now.head_hash,
        generation: 0,
        offset: now.offset,
        ..FilePosition::default()
    };
    let mut again = case.open();
    assert_eq!(again.resume(&old, Events::default(), Auto).unwrap(), Resumed::Same);
    assert_eq!(read_all(&mut again), b"new\n");
}

#[test]
fn a_hole_of_terabytes_is_skipped() {
    let case = Case::new(b"");
    let file = OpenOptions::new().write(true).open(&case.path).unwrap();
    file.set_len(4 << 40).unwrap();
    drop(file);
    case.append(b"end\nnext\n");
    let mut tailed = case.open();
    let begun = Instant::now();
    let mut lines = Vec::new();
    while lines.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the hole is read");
        lines = read_all(&mut tailed);
    }
    assert_eq!(lines, b"end\nnext\n");
}

/// A position as agents sent it that told nothing of the bytes before the offset: four lines of a file, read to the end.
const OLD_POSITION: &[u8] =
    b"\x0a\x08file:c@5\x12\x13\x08\x07\x10\x0c\x18\x05\x20\x58\x29\xad\x37\xb4\xce\xe5\xfb\xeb\x76\x38\x58\
      \x32\x0d/logs/app.log\x38\x04";

#[test]
fn the_fixture_of_an_old_position_is_resumed() {
    let content: String = (0..4).map(|n| format!("line {n} of the fixture\n")).collect();
    let case = Case::new((content + "new\n").as_bytes());
    let old: SourcePosition = prost::Message::decode(OLD_POSITION).unwrap();
    assert_eq!((old.source.as_str(), old.display_name.as_str()), ("file:c@5", "/logs/app.log"));
    assert!(fits(&Identity { device: 9, inode: 12, birth_time: 5 }, &old.source));
    let Some(Position::File(position)) = old.position else { panic!() };
    let events = Events { read: old.events_read, ..Events::default() };
    let mut again = case.open();
    assert_eq!(again.resume(&position, events, Auto).unwrap(), Resumed::Same);
    assert_eq!(read_all(&mut again), b"new\n");
    assert_eq!(again.events.read, 5);
}

#[test]
fn a_last_line_of_which_nothing_can_be_given_out_is_left_to_the_kernel_to_watch() {
    for (end, more, expected) in [
        (&b"\r"[..], &b"\n"[..], "\n"),
        (b"\xe2\x82", b"\xac\n", "\u{20ac}\n"),
        (b"\xef\xbb", b"\xbfx\n", "x\n"),
    ] {
        let case = Case::new(end);
        let mut file = case.open();
        for _ in 0..3 {
            assert!(read_parts(&mut file, AT_ONCE).is_empty());
        }
        assert!(file.can_be_watched() && !file.has_more());
        assert!(read_parts(&mut file, AT_ONCE).is_empty());
        assert!(file.can_be_watched());
        case.append(more);
        assert!(file.has_more());
        assert_eq!(read_parts(&mut file, AT_ONCE), [(expected.to_owned(), LinePart::Whole)]);
    }
}
