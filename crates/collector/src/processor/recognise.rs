//! The stage that reads in a log line when it happened, how bad it is, and the fields of JSON and logfmt (docs/processing.md).
//!
//! What the sender said stays: only a row without a time gets one, only a row without a severity gets one, and a field never takes the place
//! of an attribute. Bodies are not touched, and neither copied: what is found in them is a part of their bytes.

mod attributes;
mod room;

use bytes::Bytes;
use lapwing::columns::{Attributes, Column, Columns, Encoded, LogColumns, TIME_AHEAD, Text};
use lapwing_parse::{Found, Settings, Timeline, recognise};
use lapwing_store::rows::About;

use self::{attributes::Widened, room::Room};
use super::stage::{Stage, StageError};
use crate::{config::ProcessingConfig, ingest::nanos};

/// How the names begin of what is said about rows. No line says it of itself.
const RESERVED: &str = "lapwing.";
/// Says of a row why it has no time of its own although something in its line looks like one: `ambiguous`.
const TIME_DOUBT: &str = "lapwing.time";
/// Says of a row how many fields of its line are not among its attributes.
const FIELDS_LEFT_OUT: &str = "lapwing.fields_left_out";
/// Says of a row that it is a part of a longer line, and which.
const PART: &str = "lapwing.part";

/// Recognises times, severities and fields of log lines.
#[derive(Debug)]
pub(super) struct Recognise {
    settings: Settings,
    /// How far ahead of its reading the time of a line may be, in nanoseconds.
    ahead: u64,
}

impl Recognise {
    pub(super) fn new(config: &ProcessingConfig) -> Self {
        Self { settings: config.settings, ahead: nanos(config.time_ahead) }
    }
}

impl Stage for Recognise {
    fn name(&self) -> &'static str {
        "recognise"
    }

    fn adds(&self, encoded: &Encoded) -> usize {
        room::estimate(encoded)
    }

    fn adds_usually(&self, rows: usize) -> usize {
        room::usual(rows)
    }

    fn run(&self, columns: &mut Columns, about: &About, room: usize) -> Result<(), StageError> {
        let Columns::Logs(logs) = columns else { return Ok(()) };
        check_rows(logs)?;
        let Some(room) = Room::new(logs, room) else { return Ok(()) };

        // The host knows better than the collector what its clocks show.
        let zone = about.time_zone.parse().unwrap_or(self.settings.zone);
        let rules = Self { settings: Settings { zone, ..self.settings }, ..*self };
        let Recognised { times, severity_number, severity_text, attributes, .. } =
            Recognised::of(logs, &rules, room);
        let attributes = attributes.finish();
        logs.time = Column::Plain(times);
        logs.severity_number = severity_number;
        logs.severity_text = severity_text;
        if let Some(attributes) = attributes {
            logs.attributes = attributes;
        }
        Ok(())
    }
}

fn check_rows(logs: &LogColumns) -> Result<(), StageError> {
    let expected = logs.bodies.rows();
    let all = [
        logs.time.rows(),
        logs.observed_time.rows(),
        logs.severity_number.rows(),
        logs.severity_text.rows(),
        logs.source.rows(),
        logs.attributes.rows(),
    ];
    let wrong = all.into_iter().find(|rows| *rows != expected);
    wrong.map_or(Ok(()), |rows| Err(StageError::Rows { rows, expected }))
}

/// A row as it came.
struct Row<'c> {
    time: u64,
    observed: u64,
    severity_number: u8,
    severity_text: &'c Text,
    source: &'c Text,
    attributes: &'c Attributes,
    body: &'c [u8],
}

/// What a time is, and what is to be said about it.
struct Placed {
    time: u64,
    mark: Option<(Text, Text)>,
}

/// Columns under construction.
struct Recognised<'c> {
    data: &'c Bytes,
    times: Vec<u64>,
    severity_number: Column<u8>,
    severity_text: Column<Text>,
    attributes: Widened<'c>,
    room: Room,
    timelines: Timelines<'c>,
}

impl<'c> Recognised<'c> {
    fn of(logs: &'c LogColumns, rules: &Recognise, room: Room) -> Self {
        let mut recognised = Self {
            data: logs.bodies.data(),
            times: Vec::with_capacity(logs.bodies.rows()),
            severity_number: Column::Runs(Vec::new()),
            severity_text: Column::Runs(Vec::new()),
            attributes: Widened::new(&logs.attributes),
            room,
            timelines: Timelines::default(),
        };

        let times = logs.time.iter().zip(logs.observed_time.iter());
        let severities = logs.severity_number.iter().zip(logs.severity_text.iter());
        let rest = logs.source.iter().zip(logs.attributes.iter()).zip(logs.bodies.iter());
        for (((time, observed), severity), ((source, attributes), body)) in times.zip(severities).zip(rest) {
            recognised.row(
                &Row {
                    time: *time,
                    observed: *observed,
                    severity_number: *severity.0,
                    severity_text: severity.1,
                    source,
                    attributes,
                    body,
                },
                rules,
            );
        }
        recognised
    }

    fn row(&mut self, row: &Row<'c>, rules: &Recognise) {
        // What goes on in the middle of a line says nothing at its beginning.
        let goes_on = row.attributes.get(PART).is_some_and(|part| part != "first");
        let found = (!goes_on).then(|| recognise(row.body, row.observed, &rules.settings));

        let Placed { time, mark } = self.place(row, found.as_ref(), rules.ahead);
        self.times.push(time);
        self.severity(row, found.as_ref());

        let others = self.others(row.attributes, mark, found);
        self.attributes.row(row.attributes, others);
    }

    /// The time of a row: its sender's, its line's, or that behind the line before.
    fn place(&mut self, row: &Row<'c>, found: Option<&Found<'_>>, ahead: u64) -> Placed {
        let timeline = self.timelines.of(row);
        if row.time != 0 {
            // Only the order of what follows depends on it.
            timeline.place(Some(&exactly(signed(row.time))), signed(row.observed));
            return Placed { time: row.time, mark: None };
        }

        let own = found.and_then(|found| found.time);
        // Without a reading there is nothing to judge a time by.
        let latest = signed(row.observed.saturating_add(ahead));
        let is_ahead = row.observed != 0 && own.is_some_and(|own| own.unix_nano > latest);
        if is_ahead || row.observed == 0 || own.is_some_and(|own| own.unix_nano <= 0) {
            timeline.place(Some(&exactly(signed(row.observed))), signed(row.observed));
            let mark = is_ahead.then(|| (Text::from_static(TIME_AHEAD), Text::from_static("true")));
            return Placed { time: row.observed, mark };
        }

        let time = timeline.place(own.as_ref(), signed(row.observed));
        let doubt = own.is_none() && found.is_some_and(|found| found.doubt.is_some());
        let mark = doubt.then(|| (Text::from_static(TIME_DOUBT), Text::from_static("ambiguous")));
        Placed { time: u64::try_from(time).unwrap_or(row.observed), mark }
    }

    fn severity(&mut self, row: &Row<'c>, found: Option<&Found<'_>>) {
        let is_unknown = row.severity_number == 0 && row.severity_text.is_empty();
        match found.and_then(|found| found.severity.as_ref()).filter(|_| is_unknown) {
            None => {
                self.severity_number.push_run(1, row.severity_number);
                push_text(&mut self.severity_text, row.severity_text.as_str(), || row.severity_text.clone());
            }
            Some(severity) => {
                self.severity_number.push_run(1, severity.number);
                let data = self.data;
                push_text(&mut self.severity_text, &severity.text, || Text::within(data, &severity.text));
            }
        }
    }

    /// What becomes attributes: what is said about the row, the fields of its line as far as there is room, and how many have none.
    fn others(
        &mut self,
        own: &Attributes,
        mark: Option<(Text, Text)>,
        found: Option<Found<'_>>,
    ) -> Vec<(Text, Text)> {
        let mut taken = Vec::new();
        let Some(found) = found else { return taken };
        let is_marked = mark.is_some();
        taken.extend(mark);

        let mut left_out = found.attributes_left_out;
        let message = found.is_message_field.then(|| String::from_utf8_lossy(&found.message));
        let fields = found.attributes.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
        for (key, value) in message.iter().map(|message| ("message", message.as_ref())).chain(fields) {
            if !key.starts_with(RESERVED) && self.room.takes(own.len() + taken.len(), key, value) {
                taken.push((Text::within(self.data, key), Text::within(self.data, value)));
            } else {
                left_out = left_out.saturating_add(1);
            }
        }

        if left_out > 0 {
            // There is room for one pair about each row; of two the number goes first, since nothing else says that something is missing.
            let number = left_out.to_string();
            if is_marked && !self.room.takes(0, FIELDS_LEFT_OUT, &number) {
                taken.swap_remove(0);
            }
            taken.push((Text::from_static(FIELDS_LEFT_OUT), number.into()));
        }
        taken
    }
}

/// Lines of one source that were read at one time, one after the other, are one timeline.
#[derive(Default)]
struct Timelines<'c> {
    of: Option<(&'c Text, u64)>,
    timeline: Timeline,
}

impl<'c> Timelines<'c> {
    fn of(&mut self, row: &Row<'c>) -> &mut Timeline {
        let is_same = self.of.is_some_and(|(source, observed)| {
            observed == row.observed && (std::ptr::eq(source, row.source) || source == row.source)
        });
        if !is_same {
            *self = Self { of: Some((row.source, row.observed)), timeline: Timeline::default() };
        }
        &mut self.timeline
    }
}

/// A time that is not moved.
fn exactly(unix_nano: i64) -> lapwing_parse::Time {
    lapwing_parse::Time { unix_nano, step: 1, zone_assumed: false, year_assumed: false }
}

fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// Appends a text, made only when it is another one than that of the row before.
fn push_text(column: &mut Column<Text>, text: &str, make: impl FnOnce() -> Text) {
    if let Column::Runs(runs) = column
        && let Some(last) = runs.last_mut()
        && &last.value.bytes()[..] == text.as_bytes()
    {
        last.rows += 1;
        return;
    }
    column.push_run(1, make());
}

#[cfg(test)]
mod tests;
