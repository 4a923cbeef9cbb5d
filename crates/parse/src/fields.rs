//! Fields of a structured line: which of them are its time, its level and its message.

use std::borrow::Cow;

use crate::{
    Doubt, Found, Settings, Severity, Time,
    bytes::{at, digits, number, skip_blanks},
    civil::SECOND,
    level, plain,
    stamp::{self, Place},
};

/// The most attributes that are taken out of one line.
pub const ATTRIBUTES_MAX: usize = 128;
/// The longest name of an attribute, with those of the objects around it.
pub const KEY_MAX: usize = 256;

/// Names of the time, the ones that say most first.
const TIME: [&str; 20] = [
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "@t",
    "datetime",
    "timeMillis",
    "instant.epochSecond",
    "t.$date",
    "t",
    "asctime",
    "Timestamp",
    "eventTime",
    "event_time",
    "date",
    "log_time",
    "time_iso8601",
    "time_local",
    "__REALTIME_TIMESTAMP",
    "Time",
];
/// Names of the level. Words come before numbers, as some write both.
const LEVEL: [&str; 24] = [
    "level_name",
    "levelname",
    "severity",
    "level",
    "lvl",
    "log.level",
    "loglevel",
    "log_level",
    "logLevel",
    "LogLevel",
    "severity_text",
    "severityText",
    "SeverityText",
    "@l",
    "Level",
    "Severity",
    "levelno",
    "severity_number",
    "severityNumber",
    "SeverityNumber",
    "PRIORITY",
    "priority",
    "syslog.severity",
    "s",
];
/// Names of the message.
const MESSAGE: [&str; 12] = [
    "message",
    "msg",
    "Message",
    "MESSAGE",
    "@m",
    "short_message",
    "body",
    "log",
    "event",
    "text",
    "@mt",
    "m",
];

/// A value as it is written.
#[derive(Clone, Debug)]
pub(crate) enum Value<'l> {
    /// A string, without its quotes and escapes.
    Text(Cow<'l, str>),
    /// A number, as its digits.
    Number(Cow<'l, str>),
    /// Anything else: a truth value, an array, an object too deep to be taken apart.
    Other(Cow<'l, str>),
}

impl<'l> Value<'l> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Other(text) => text,
        }
    }

    fn into_text(self) -> Cow<'l, str> {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Other(text) => text,
        }
    }
}

/// A field that is the best so far of its kind, and what it means.
struct Best<'l, T> {
    rank: usize,
    key: Cow<'l, str>,
    value: Value<'l>,
    meaning: T,
}

/// Collects the fields of a line.
pub(crate) struct Fields<'l, 's> {
    observed: i64,
    settings: &'s Settings,
    time: Option<Best<'l, Time>>,
    doubt: Option<Doubt>,
    level: Option<Best<'l, u8>>,
    message: Option<Best<'l, ()>>,
    attributes: Vec<(Cow<'l, str>, Cow<'l, str>)>,
    left_out: usize,
}

impl<'l, 's> Fields<'l, 's> {
    pub(crate) fn new(observed: i64, settings: &'s Settings) -> Self {
        Self {
            observed,
            settings,
            time: None,
            doubt: None,
            level: None,
            message: None,
            attributes: Vec::new(),
            left_out: 0,
        }
    }

    /// Whether anything was a time, a level or a message.
    pub(crate) fn say_anything(&self) -> bool {
        self.time.is_some() || self.level.is_some() || self.message.is_some()
    }

    /// Counts a field that is not taken.
    pub(crate) fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }

    /// Takes a field, in the order of the line.
    pub(crate) fn add(&mut self, key: Cow<'l, str>, value: Value<'l>) {
        let displaced = if let Some((rank, meaning)) = self.time_of(&key, &value) {
            take_better(&mut self.time, Best { rank, key, value, meaning })
        } else if let Some((rank, meaning)) = level_of(&key, &value) {
            take_better(&mut self.level, Best { rank, key, value, meaning })
        } else if let Some(rank) = message_rank(&key, &value) {
            take_better(&mut self.message, Best { rank, key, value, meaning: () })
        } else {
            Some((key, value))
        };
        if let Some((key, value)) = displaced {
            self.attribute(key, value);
        }
    }

    fn attribute(&mut self, key: Cow<'l, str>, value: Value<'l>) {
        // Log4j writes the fraction of its instant as a field of its own.
        if key == "instant.nanoOfSecond" && self.add_nanos(value.text()) {
            return;
        }
        if self.attributes.len() == ATTRIBUTES_MAX || key.len() > KEY_MAX {
            return self.leave_out();
        }
        self.attributes.push((key, value.into_text()));
    }

    fn add_nanos(&mut self, text: &str) -> bool {
        let Some(best) = self.time.as_mut().filter(|best| best.key == "instant.epochSecond") else {
            return false;
        };
        let Some(nanos) = text.parse().ok().filter(|nanos| (0..SECOND).contains(nanos)) else { return false };
        best.meaning.unix_nano = best.meaning.unix_nano / SECOND * SECOND + nanos;
        best.meaning.step = 1;
        true
    }

    fn time_of(&mut self, key: &str, value: &Value<'l>) -> Option<(usize, Time)> {
        let rank = TIME.iter().position(|name| *name == key)?;
        let text = value.text().as_bytes();
        let stamp = stamp::read(text, 0, Place { first: true, before: 0 }, self.settings)?;
        if skip_blanks(text, stamp.end) != text.len() {
            return None;
        }

        self.doubt = self.doubt.or(stamp.what.doubt());
        stamp.what.time(self.observed, self.settings).map(|time| (rank, time))
    }

    /// What the fields say, where `whole` is the line when none of them is a message.
    pub(crate) fn finish(self, whole: &'l [u8]) -> Found<'l> {
        let mut found = Found::whole(whole);
        found.time = self.time.map(|best| best.meaning);
        found.doubt = self.doubt.filter(|_| found.time.is_none());
        found.severity =
            self.level.map(|best| Severity { number: best.meaning, text: best.value.into_text() });
        found.attributes = self.attributes;
        found.attributes_left_out = self.left_out;

        if let Some(best) = self.message {
            found.message = message_bytes(best.value.into_text());
            found.is_message_field = true;
            // Docker and other forwarders wrap lines that have their own.
            if found.time.is_none() || found.severity.is_none() {
                let (time, severity) = plain::head_of(&found.message, self.observed, self.settings);
                found.time = found.time.or(time);
                found.doubt = found.doubt.filter(|_| found.time.is_none());
                found.severity = found.severity.or(severity);
            }
        }
        found
    }
}

/// Keeps the better of two, and returns the other.
fn take_better<'l, T>(slot: &mut Option<Best<'l, T>>, new: Best<'l, T>) -> Option<(Cow<'l, str>, Value<'l>)> {
    let worse = match slot {
        Some(old) if old.rank <= new.rank => new,
        _ => slot.replace(new)?,
    };
    Some((worse.key, worse.value))
}

fn level_of(key: &str, value: &Value<'_>) -> Option<(usize, u8)> {
    let rank = LEVEL.iter().position(|name| *name == key)?;
    let text = value.text();
    let bytes = text.as_bytes();

    let is_number = digits(bytes, 0) == bytes.len() && (1..=5).contains(&bytes.len());
    let number = match key {
        _ if !is_number => level::word(bytes).map(level::Word::number).or(single_letter(bytes)),
        "severity_number" | "severityNumber" | "SeverityNumber" => {
            u8::try_from(number(bytes, 0, bytes.len())).ok().filter(|number| (1..=24).contains(number))
        }
        // Python's numbers are one step above Bunyan's.
        "levelno" => level::numeric(number(bytes, 0, bytes.len()) + 10).filter(|_| bytes.len() == 2),
        _ => level::numeric(number(bytes, 0, bytes.len())),
    };
    number.map(|number| (rank, number))
}

fn single_letter(text: &[u8]) -> Option<u8> {
    if text.len() == 1 { level::letter(at(text, 0)) } else { None }
}

fn message_rank(key: &str, value: &Value<'_>) -> Option<usize> {
    let Value::Text(_) = value else { return None };
    MESSAGE.iter().position(|name| *name == key)
}

/// The bytes of a message without the line end that Docker leaves on it.
fn message_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(['\r', '\n']).as_bytes()),
        Cow::Owned(mut text) => {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
            Cow::Owned(text.into_bytes())
        }
    }
}

impl<'l> Found<'l> {
    /// A line of which nothing is known.
    pub(crate) fn whole(line: &'l [u8]) -> Self {
        Self {
            time: None,
            doubt: None,
            severity: None,
            message: Cow::Borrowed(line),
            is_message_field: false,
            attributes: Vec::new(),
            attributes_left_out: 0,
        }
    }
}
