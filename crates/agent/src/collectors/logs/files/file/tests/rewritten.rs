//! Files that are written anew, and what looks like what was read before.

use std::os::unix::fs::FileExt;

use super::*;

/// Output of a program whose lines differ in their first characters only.
fn run(run: u32, lines: std::ops::Range<u32>) -> String {
    let constant =
        "\"service\":\"payments\",\"env\":\"production\",\"region\":\"eu-central-1\",\"version\":\"1.2.3\"";
    lines.map(|n| format!("{{\"run\":{run:04},\"step\":{n:04},{constant}}}\n")).collect()
}

/// All that comes in several looks: a file that became shorter is looked at again before it is read.
fn read_in_looks(file: &mut TailedFile) -> String {
    let bytes: Vec<u8> = (0..4).flat_map(|_| read_all(file)).collect();
    String::from_utf8(bytes).unwrap()
}

fn read_until(file: &mut TailedFile, end: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut all = String::new();
    while !all.ends_with(end) {
        assert!(Instant::now() < deadline, "{all:?} does not end with {end:?}");
        all.push_str(std::str::from_utf8(&read_all(file)).unwrap());
    }
    all
}

#[test]
fn other_lines_of_the_same_width_are_read_whole() {
    let banner = "starting up\n".repeat(100);
    for banner in ["", &banner] {
        for count in [3, 7, 15, 40, 400] {
            let case = Case::new(format!("{banner}{}", run(1, 0..count)).as_bytes());
            let mut file = case.open();
            read_all(&mut file);
            let mut away = case.open();
            let new = format!("{banner}{}", run(2, 0..count + 1));
            fs::write(&case.path, &new).unwrap();
            away.resume(&held(&file), file.events.clone(), Auto).unwrap();
            for (file, who) in [(&mut file, "there"), (&mut away, "away")] {
                let given = read_in_looks(file);
                // Behind a banner that is most of the file, reading may go on.
                let is_all = given == new || (count < 15 && given.ends_with(&run(2, 0..count + 1)));
                assert!(is_all, "{who}, {count} lines: {} of {} bytes", given.len(), new.len());
            }
        }
    }
}

#[test]
fn a_file_that_was_read_whole_loses_nothing_when_it_is_written_anew_and_is_longer() {
    let case = Case::new(lines(0..100).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    fs::write(&case.path, lines(1000..1300)).unwrap();
    let Step::Changed(Change::Anew { lost: 0 }) = file.step(BOUNDS).unwrap() else { panic!() };
    assert_eq!(read_in_looks(&mut file), lines(1000..1300));
    assert!(file.events.dropped.is_empty());
}

#[test]
fn lines_that_come_while_a_file_is_cut_to_its_first_lines_are_read() {
    let case = Case::new(lines(0..1000).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    fs::write(&case.path, lines(0..900) + "new 1\nnew 2\n").unwrap();
    // It might just be written with what it held before, until it is quiet.
    let given = read_until(&mut file, "new 1\nnew 2\n");
    assert!(given.len() < 1500, "{given:?}");
}

#[test]
fn a_line_that_ends_in_padding_does_not_hold_up_what_is_behind() {
    for length in [3, 2000] {
        let content = [vec![b'x'; length], vec![0; 100], b"rest\nnext\n".to_vec()].concat();
        let case = Case::new(&content);
        let mut file = case.open();
        read_until(&mut file, "rest\nnext\n");
    }
}

#[test]
fn padding_within_a_copy_does_not_hide_what_is_behind() {
    let case = Case::new(lines(0..10).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    let more = [b"broken", [0; 100].as_slice(), b"off\nlast\n"].concat();
    case.append(&more);
    fs::copy(&case.path, case.path.with_extension("log.1")).unwrap();
    fs::write(&case.path, b"next\n").unwrap();
    assert_eq!(read_until(&mut file, "next\n"), "broken\noff\nlast\nnext\n");
}

#[test]
fn a_copy_that_is_whole_is_read_rather_than_a_compressed_one_that_is_being_written() {
    let case = Case::new(lines(0..10).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    case.append(lines(10..20_000).as_bytes());
    fs::copy(&case.path, case.path.with_extension("log.1")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(&case.path).unwrap()).unwrap();
    let gzip = gzip.finish().unwrap();
    fs::write(case.path.with_extension("log.1.gz"), &gzip[..gzip.len() / 2]).unwrap();
    fs::write(&case.path, b"next\n").unwrap();
    assert!(read_all(&mut file) == (lines(10..20_000) + "next\n").as_bytes());
}

#[test]
fn padding_that_was_there_for_long_still_waits_to_be_filled_once_something_is_behind_it() {
    let case = Case::new(&[0; 4096]);
    let writer = OpenOptions::new().write(true).open(&case.path).unwrap();
    let mut file = case.open();
    assert!(read_all(&mut file).is_empty());
    if let Some(gap) = &mut file.gap {
        gap.since -= Duration::from_secs(10);
    }
    case.append(b"second\n");
    assert!(read_all(&mut file).is_empty());
    let first = "f".repeat(99) + "\n";
    writer.write_all_at(first.as_bytes(), 0).unwrap();
    assert_eq!(read_until(&mut file, "second\n"), first + "second\n");
}

#[test]
fn a_file_that_was_utf16_and_is_written_anew_in_utf8_is_read() {
    let case = Case::new(b"\xff\xfeo\0n\0e\0\n\0");
    let mut file = case.open();
    read_all(&mut file);
    fs::write(&case.path, b"").unwrap();
    read_all(&mut file);
    case.append(b"one\n");
    assert_eq!(read_all(&mut file), b"one\n");
}

#[test]
fn lines_that_are_known_from_the_file_before_stay_known_over_a_restart() {
    let case = Case::new(lines(0..100).as_bytes());
    let mut old = case.open();
    read_all(&mut old);
    fs::write(case.path.with_extension("new"), lines(0..100).replace("number 50", "number fifty") + "new\n")
        .unwrap();
    fs::rename(case.path.with_extension("new"), &case.path).unwrap();
    let mut file = case.open();
    assert_eq!(file.succeed(&mut old).unwrap(), Succession::Part);
    let mut again = resumed(&case, &file);
    let expected = lines(50..51).replace("50", "fifty") + "new\n";
    for file in [&mut file, &mut again] {
        assert_eq!(String::from_utf8(read_all(file)).unwrap(), expected);
        assert_eq!(held(file).known_to, 0);
    }
}

/// Makes a copy as rotation does, one second newer than the one before, and empties the file.
fn copytruncate(case: &Case, copies: u64) {
    for number in (1..copies).rev() {
        let name = |number: u64| case.path.with_extension(format!("log.{number}"));
        fs::rename(name(number), name(number + 1)).unwrap();
    }
    let copy = case.path.with_extension("log.1");
    fs::copy(&case.path, &copy).unwrap();
    let time = SystemTime::now() - Duration::from_secs(100 - copies);
    fs::File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
    fs::write(&case.path, b"").unwrap();
}

#[test]
fn all_copies_are_read_of_a_file_that_was_truncated_several_times() {
    for is_read_whole in [false, true] {
        let case = Case::new(lines(0..10).as_bytes());
        let mut file = case.open();
        read_all(&mut file);
        let mut expected = String::new();
        if !is_read_whole {
            case.append(b"first\nhalf");
            expected.push_str("first\nhalf\n");
        }
        fs::write(case.path.with_extension("other.1"), b"another log\n").unwrap();
        copytruncate(&case, 1);
        case.append(b"second\n");
        copytruncate(&case, 2);
        case.append(b"third\n");
        copytruncate(&case, 3);
        case.append(b"live\n");
        expected.push_str("second\nthird\nlive\n");
        let mut away = resumed(&case, &file);
        let mut again = resumed(&case, &file);
        assert_eq!(read_in_looks(&mut file), expected, "{is_read_whole}");
        assert_eq!(read_in_looks(&mut away), expected, "away, {is_read_whole}");

        // A restart at any place goes on there.
        let mut given = String::new();
        for _ in 0..30 {
            match again.step(BOUNDS).unwrap() {
                Step::Lines { data, .. } => given.push_str(std::str::from_utf8(&data).unwrap()),
                Step::Moved => {}
                _ => continue,
            }
            again = resumed(&case, &again);
        }
        assert_eq!(given, expected, "restarts, {is_read_whole}");
        assert!(away.events.dropped.is_empty());
    }
}

#[test]
fn a_file_that_was_read_whole_and_truncated_while_nobody_read_loses_nothing() {
    let case = Case::new(lines(0..10).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    copytruncate(&case, 1);
    case.append(b"next\n");
    let mut away = resumed(&case, &file);
    assert_eq!(read_in_looks(&mut away), "next\n");
    assert!(away.events.dropped.is_empty());
}

/// How a file is changed: under a new inode while the old one is open, or while nobody reads; or in place while nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Replaced,
    ReplacedAway,
    InPlaceAway,
}

/// What is given of a file behind what was read of it before it was edited.
fn given_after(edit: Edit, before: &str, after: &str) -> String {
    let case = Case::new(before.as_bytes());
    let mut old = case.open();
    assert_eq!(read_all(&mut old), before.as_bytes());
    let position = held(&old);
    if edit == Edit::InPlaceAway {
        fs::write(&case.path, after).unwrap();
    } else {
        let new = case.path.with_extension("new");
        fs::write(&new, after).unwrap();
        fs::rename(new, &case.path).unwrap();
    }

    let mut file = case.open();
    match edit {
        Edit::Replaced => drop(file.succeed(&mut old).unwrap()),
        Edit::ReplacedAway => drop(file.succeed_held(&Fingerprint::of_position(&position), false).unwrap()),
        Edit::InPlaceAway => drop(file.resume(&position, Events::default(), Auto).unwrap()),
    }
    read_in_looks(&mut file)
}

/// Each line of a file, changed in three ways, with its number.
fn changed(lines: &[String]) -> impl Iterator<Item = (usize, String, String)> {
    (0..lines.len()).flat_map(|n| {
        let old = lines[n].trim_end();
        let same = format!("{}#", &old[..old.len() - 1]);
        [same, "short".to_owned(), format!("{old}, and more")].map(|line| {
            let mut after = lines.to_vec();
            after[n] = line.clone() + "\n";
            (n, line, after.concat())
        })
    })
}

#[test]
fn a_line_that_is_changed_in_a_copy_is_read_and_few_others_with_it() {
    // Of the smallest too little is the same, and they are read as a whole.
    for (count, most) in [(86, 1100), (110, 100), (160, 100)] {
        let lines: Vec<String> = (0..count).map(|n| format!("sed {n:07}\n")).collect();
        for (n, line, after) in changed(&lines) {
            let given = given_after(Edit::Replaced, &lines.concat(), &after);
            assert!(given.lines().any(|given| given == line), "line {n} of {count}, {line:?}: {given:?}");
            assert!(given.len() < most, "line {n} of {count}, {line:?}: {given:?}");
        }
    }
}

#[test]
fn a_line_that_was_changed_while_nobody_read_is_read() {
    for count in [20, 90, 110, 160] {
        let lines: Vec<String> = (0..count).map(|n| format!("sed {n:07}\n")).collect();
        let before = lines.concat();
        for edit in [Edit::ReplacedAway, Edit::InPlaceAway] {
            for (n, line, after) in changed(&lines) {
                // Far before the position, or in what may be a first line that is kept up to date.
                let is_end = n * 12 + 1024 >= before.len();
                let is_start = edit == Edit::ReplacedAway && (n + 1) * 12 <= 1024;
                if after.len() == before.len() && !is_end && !is_start {
                    continue;
                }
                let given = given_after(edit, &before, &after);
                let is_read = given.lines().any(|given| given == line);
                assert!(is_read, "line {n} of {count}, {edit:?}, {line:?}: {given:?}");
                // It is read as a whole once at most.
                assert!(given.len() <= after.len());
            }
        }
    }
}

#[test]
fn a_line_that_was_put_in_front_while_nobody_read_is_read_and_the_last_ones_do_not_come_again() {
    let before = lines(0..2_000);
    for edit in [Edit::ReplacedAway, Edit::InPlaceAway] {
        let given = given_after(edit, &before, &format!("in front\n{before}new\n"));
        assert!(given.starts_with("in front\n") && given.ends_with("\nnew\n"), "{edit:?}");
        assert!(given.len() < before.len() - 1000, "{edit:?}: {} of {} bytes", given.len(), before.len());
    }
}

#[test]
fn a_file_that_is_written_anew_in_parts_with_the_same_content_is_not_read_again() {
    for (count, more) in [(25, ""), (1_000, ""), (1_000, "new\n"), (20_000, "new\n")] {
        let case = Case::new(lines(0..count).as_bytes());
        let mut file = case.open();
        read_all(&mut file);
        let content = lines(0..count) + more;
        fs::write(&case.path, "").unwrap();
        let mut given = read_in_looks(&mut file);
        for part in [&content[..content.len() / 3], &content[content.len() / 3..]] {
            // As long as a writer that is slow may take.
            std::thread::sleep(Duration::from_millis(1_200));
            given.push_str(&read_in_looks(&mut file));
            case.append(part.as_bytes());
            given.push_str(&read_in_looks(&mut file));
        }
        given.push_str(&read_until(&mut file, if given.is_empty() { more } else { "" }));
        assert_eq!(given, more, "{count}");
        case.append(b"newer\n");
        assert_eq!(read_until(&mut file, "newer\n"), "newer\n");
        assert!(file.events.dropped.is_empty());
    }
}

#[test]
fn a_truncated_file_with_other_lines_behind_the_same_banner_is_read_whole() {
    let banner = "starting up, version 1.2.3\n".repeat(100);
    let case = Case::new((banner.clone() + &lines(0..1_000)).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    fs::write(&case.path, "").unwrap();
    read_in_looks(&mut file);
    case.append(banner.as_bytes());
    assert_eq!(read_in_looks(&mut file), "");
    case.append(lines(1_000..1_100).as_bytes());
    assert_eq!(read_until(&mut file, &lines(1_099..1_100)), banner + &lines(1_000..1_100));
}

#[test]
fn a_file_that_is_cut_far_before_its_end_gives_few_lines_again() {
    let case = Case::new(lines(0..20_000).as_bytes());
    let mut file = case.open();
    read_all(&mut file);
    let cut = lines(0..15_000);
    fs::write(&case.path, &cut).unwrap();
    assert_eq!(read_in_looks(&mut file), "");
    case.append(b"new\n");
    let given = read_until(&mut file, "new\n");
    assert!(given.len() < 20_000, "{}", given.len());
}

/// Overwrites a line in place with one of the same length.
fn overwrite(case: &Case, number: u32, with: &str) -> String {
    let before = lines(0..number).len() as u64;
    let line = lines(number..number + 1).replace("number", with);
    let file = OpenOptions::new().write(true).open(&case.path).unwrap();
    file.write_all_at(line.as_bytes(), before).unwrap();
    line
}

#[test]
fn a_line_that_is_overwritten_in_place_with_one_of_the_same_length_comes_with_few_others() {
    for (count, number, most) in [(1_000, 0, 2_200), (1_000, 500, 2_200), (100_000, 50_000, 100_000)] {
        let case = Case::new(lines(0..count).as_bytes());
        let mut file = case.open();
        read_all(&mut file);
        let line = overwrite(&case, number, "NUMBER");
        let mut again = case.open();
        again.resume(&held(&file), Events::default(), Auto).unwrap();
        assert!(!file.below.is_due());
        let given = read_past(&mut file, &line);
        assert!(given.contains(&line) && given.len() < most, "{number} of {count}: {} bytes", given.len());

        // It goes on where it was, knows all as it is now, and is not compared again at once.
        case.append(b"new\n");
        assert_eq!(read_until(&mut file, "new\n"), "new\n");
        let held = held(&file);
        let fresh = {
            let mut fresh = case.open();
            read_all(&mut fresh);
            fresh
        };
        assert_eq!(held.offset, fresh.offset);
        assert_eq!(held.head_hash, fresh.head.hash);
        assert!(!held.mark_hashes.is_empty());
        let line = overwrite(&case, number / 2, "nUmBeR");
        file.below.backdate(Duration::from_secs(2));
        assert_eq!(read_in_looks(&mut file), "");
        file.below.backdate(Duration::from_secs(60));
        let given = read_past(&mut file, &line);
        assert!(given.contains(&line) && given.len() < most, "{number} of {count}: {} bytes", given.len());
    }
}

/// All up to the end of a look in which a line came.
fn read_past(file: &mut TailedFile, line: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut all = String::new();
    while !all.contains(line) {
        assert!(Instant::now() < deadline, "{line:?} does not come");
        all.push_str(std::str::from_utf8(&read_all(file)).unwrap());
    }
    all
}
