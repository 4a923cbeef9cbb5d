//! One table of a config file.

use std::{cell::RefCell, env, net::SocketAddr, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Reader;
use crate::secret::Secret;

/// A table, or the absence of one: then every key has its default.
#[derive(Debug)]
pub struct Section<'a> {
    reader: &'a Reader,
    name: String,
    table: Option<&'a DeTable<'a>>,
    known: RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(reader: &'a Reader, table: &'a DeTable<'a>) -> Self {
        Self { reader, name: String::new(), table: Some(table), known: RefCell::default() }
    }

    /// The table `key` in this one.
    pub fn section(&self, key: &str) -> Section<'a> {
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        let table = self.value(key).and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.wrong(key, value, "a table", article(other));
                None
            }
        });
        Section { reader: self.reader, name, table, known: RefCell::default() }
    }

    /// Whether the table is there.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A string, with variables put in.
    pub fn string(&self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        self.text(key, value)
    }

    /// A string that is not printed.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.string(key).map(Secret::new)
    }

    /// A path.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.string(key).map(PathBuf::from)
    }

    /// An address such as `127.0.0.1:7400`.
    pub fn address(&self, key: &str) -> Option<SocketAddr> {
        let text = self.string(key)?;
        let parsed = text.parse();
        if parsed.is_err() {
            self.problem(key, format!("expected an address such as 127.0.0.1:7400, got {text:?}"));
        }
        parsed.ok()
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(key, format!("expected one of {}, got {text:?}", names.join(", ")));
        }
        found
    }

    /// `true` or `false`.
    pub fn bool(&self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.wrong(key, value, "true or false", article(other));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&self, key: &str, min: u64, max: u64) -> Option<u64> {
        let value = self.value(key)?;
        let expected = format!("a whole number from {min} to {max}");
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong(key, value, &expected, article(value.get_ref()));
            return None;
        };
        let parsed =
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| (min..=max).contains(n));
        if parsed.is_none() {
            self.wrong(key, value, &expected, integer.as_str());
        }
        parsed
    }

    /// Whole seconds within bounds.
    pub fn seconds(&self, key: &str, min: u64, max: u64) -> Option<Duration> {
        self.number(key, min, max).map(Duration::from_secs)
    }

    /// A list of strings, with variables put in.
    pub fn strings(&self, key: &str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(array) => Some(array.iter().filter_map(|item| self.text(key, item)).collect()),
            other => {
                self.wrong(key, value, "a list of strings", article(other));
                None
            }
        }
    }

    /// Notes that something is wrong with `key`, or with its absence.
    pub fn problem(&self, key: &str, problem: impl std::fmt::Display) {
        let place = self.value(key).map_or_else(|| self.place(), |value| value.span().start);
        self.reader.note(place, format!("{}: {problem}", self.full(key)));
    }

    /// Notes every key that nobody asked for.
    pub fn finish(&self) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for key in table.keys() {
            let name: &str = key.get_ref();
            if known.iter().any(|known| known == name) {
                continue;
            }
            let near = known.iter().map(|known| (distance(known, name), known)).min();
            let hint = match near {
                Some((far, near)) if far <= 1 + name.len() / 3 => format!("; did you mean `{near}`?"),
                _ => String::new(),
            };
            let problem = format!("{}: unknown key{hint} (known: {})", self.full(name), known.join(", "));
            self.reader.note(key.span().start, problem);
        }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.borrow().iter().any(|known| known == key) {
            self.known.borrow_mut().push(key.to_owned());
        }
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn text(&self, key: &str, value: &Spanned<DeValue<'a>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => match with_variables(text) {
                Ok(text) => Some(text),
                Err(problem) => {
                    self.reader.note(value.span().start, format!("{}: {problem}", self.full(key)));
                    None
                }
            },
            other => {
                self.wrong(key, value, "a string", article(other));
                None
            }
        }
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'a>>, expected: &str, got: &str) {
        let problem = format!("{}: expected {expected}, got {got}", self.full(key));
        self.reader.note(value.span().start, problem);
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("[{}] {key}", self.name) }
    }

    /// Where the section begins: the place of its first key, or of the file.
    fn place(&self) -> usize {
        self.table.and_then(|table| table.keys().map(|key| key.span().start).min()).unwrap_or(0)
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `text` with `${NAME}` replaced by the variable; `$${` stands for `${`.
fn with_variables(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let end = after.find('}').ok_or("`${` has no closing `}`; write `$${` for a literal one")?;
        let name = &after[..end];
        let value = env::var(name).map_err(|_| {
            format!("the environment variable {name} is not set; set it, or write the value here")
        })?;
        out.push_str(before);
        out.push_str(&value);
        rest = &after[end + 1..];
    }
    Ok(out + rest)
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
