//! What was found, in words.

use lapwing_spool::inspect::{DamageKind, Inspection, SegmentState, Tail};

/// A kind of damage.
pub(crate) fn what(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::SegmentHeader => "the segment's header is damaged; its records are read all the same",
        DamageKind::NoRecord => "no record begins here",
        DamageKind::Payload => "a record's payload is damaged",
        DamageKind::End => "the end is cut off or damaged",
        DamageKind::Unreadable => "the disk can't read it",
    }
}

/// All of it in a line or two.
pub(crate) fn words(found: &Inspection) -> String {
    let mut parts = vec![sum(found)];
    if let Some((segment, version)) = found.newer() {
        parts.push(format!(
            "{segment} has version {version}, which a newer program wrote and only that reads"
        ));
    }
    if found.lost() > 0 {
        parts.push(format!("{} records are lost", found.lost()));
    } else if !found.damage.is_empty() {
        parts.push("damaged, but no record is lost".to_owned());
    }
    if let Some(holder) = &found.holder {
        parts.push(format!("{holder} has it open"));
    }
    parts.extend(found.tail.as_ref().map(end));
    parts.join("; ")
}

fn sum(found: &Inspection) -> String {
    let state = if found.is_whole() { "whole" } else { "not whole" };
    let (records, bytes, segments) = (found.records(), found.bytes(), found.segments.len());
    format!("{state}: {records} records, {bytes} bytes in {segments} segments")
}

fn end(tail: &Tail) -> String {
    let Tail { bytes, records, .. } = tail;
    if tail.in_progress {
        return format!("{bytes} bytes at the end are being written");
    }
    format!(
        "a crash left {bytes} bytes at the end that are no record (at most {records} of them); \
         the next start leaves them out"
    )
}

/// A segment's state.
pub(crate) fn state(found: &Inspection, segment: &SegmentState) -> String {
    if let Some(version) = segment.newer {
        return format!("version {version}");
    }
    let damage = found.damage.iter().filter(|damage| damage.segment == segment.name);
    let (count, lost) = damage.fold((0, 0), |(count, lost), damage| (count + 1, lost + damage.records));
    let tail = found.tail.as_ref().filter(|tail| tail.segment == segment.name);
    match (count, tail) {
        (0, None) => "whole".to_owned(),
        (0, Some(tail)) if tail.in_progress => "being written".to_owned(),
        (0, Some(_)) => "torn end".to_owned(),
        _ => format!("damaged, {lost} records lost"),
    }
}

#[cfg(test)]
mod tests {
    use lapwing_spool::{Holder, inspect::Damage};

    use super::*;

    fn found() -> Inspection {
        let segment = SegmentState {
            name: "1.spool".to_owned(),
            first: 1,
            next: 4,
            records: 2,
            bytes: 100,
            torn: 0,
            headless: false,
            newer: None,
        };
        Inspection { segments: vec![segment], ..Inspection::default() }
    }

    #[test]
    fn the_verdict_says_whole_torn_held_or_lost() {
        let mut told = found();
        assert_eq!(words(&told), "whole: 2 records, 100 bytes in 1 segments");
        let segment = "1.spool".to_owned();
        let tail = Tail { segment: segment.clone(), offset: 90, bytes: 10, records: 1, in_progress: false };
        told.tail = Some(tail.clone());
        assert!(words(&told).contains("a crash left 10 bytes at the end"), "{}", words(&told));
        assert_eq!(state(&told, &told.segments[0]), "torn end");
        told.holder = Some(Holder { pid: 7, program: "lapwing-agent".to_owned() });
        told.tail = Some(Tail { in_progress: true, ..tail });
        let words_of = words(&told);
        assert!(
            words_of.contains("lapwing-agent (process 7) has it open; 10 bytes at the end are being"),
            "{words_of}"
        );
        told.damage.push(Damage { segment, kind: DamageKind::Payload, offset: 32, bytes: 30, records: 1 });
        assert!(words(&told).starts_with("not whole") && words(&told).contains("1 records are lost"));
        assert_eq!(state(&told, &told.segments[0]), "damaged, 1 records lost");
    }

    #[test]
    fn a_newer_version_is_not_whole() {
        let mut told = found();
        told.segments[0].newer = Some(2);
        assert!(words(&told).contains("1.spool has version 2"), "{}", words(&told));
        assert_eq!(state(&told, &told.segments[0]), "version 2");
    }
}
