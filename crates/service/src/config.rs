//! Reading a config file: TOML, `${ENV}` in strings, unknown keys refused, all mistakes reported at once.
//!
//! A program asks a [`Section`] for each key it knows, with the type it wants. Whatever is wrong is noted with file, line, key,
//! what was found and what was expected, and reading goes on with a default; [`Reader::read`] then tells all of it.

mod section;

use std::{cell::RefCell, fmt, fs, path::Path};

use toml::de::DeTable;

pub use self::section::Section;

/// Largest config file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// All that is wrong with a config file, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

/// A config file being read.
#[derive(Debug)]
pub struct Reader {
    file: String,
    text: String,
    problems: RefCell<Vec<(usize, String)>>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Reader {
    /// Opens `path`.
    ///
    /// # Errors
    /// When it can't be read, is no regular file, is over 1 MiB, or is not UTF-8.
    pub fn open(path: &Path) -> Result<Self, ConfigErrors> {
        let file = path.display().to_string();
        let fail = |reason: String| ConfigErrors(vec![format!("{file}: {reason}")]);
        let about = fs::metadata(path).map_err(|error| fail(format!("can't be read: {error}")))?;
        if !about.is_file() {
            return Err(fail("is not a regular file; give the path of a TOML file".to_owned()));
        }
        if about.len() > MAX_BYTES {
            return Err(fail(format!("has {} bytes, a config has at most {MAX_BYTES}", about.len())));
        }
        let bytes = fs::read(path).map_err(|error| fail(format!("can't be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| fail(format!("is not UTF-8: {error}")))?;
        Ok(Self::new(&file, text))
    }

    /// Reads from text; `file` names it in errors.
    pub fn new(file: &str, text: String) -> Self {
        Self { file: file.to_owned(), text, problems: RefCell::default() }
    }

    /// Reads the file through `become`, which takes what it knows from the root section.
    ///
    /// # Errors
    /// All mistakes, in the order of their lines.
    pub fn read<T>(self, r#become: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, ConfigErrors> {
        let parsed = DeTable::parse(&self.text);
        let value = match &parsed {
            Ok(table) => {
                let root = Section::root(&self, table.get_ref());
                let value = r#become(&root);
                root.finish();
                value
            }
            Err(error) => {
                let place = error.span().map_or(0, |span| span.start);
                self.note(place, format!("not valid TOML: {}", error.message().trim()));
                None
            }
        };
        let mut problems = self.problems.take();
        problems.sort();
        problems.dedup();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(ConfigErrors(
                problems.into_iter().map(|(place, text)| self.describe(place, &text)).collect(),
            )),
        }
    }

    fn note(&self, place: usize, problem: String) {
        self.problems.borrow_mut().push((place, problem));
    }

    fn describe(&self, place: usize, text: &str) -> String {
        let before = self.text.get(..place).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}: {text}", self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Option<String>, u64, Vec<String>), ConfigErrors> {
        Reader::new("a.toml", text.to_owned()).read(|root| {
            let buffer = root.section("buffer");
            let value = (
                buffer.string("compression"),
                buffer.number("max_events", 1, 1000).unwrap_or(7),
                buffer.strings("files").unwrap_or_default(),
            );
            buffer.finish();
            Some(value)
        })
    }

    fn problems(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_there_is_read_and_the_rest_has_defaults() {
        assert_eq!(read("").unwrap(), (None, 7, vec![]));
        let text = "[buffer]\ncompression = 'zstd'\nmax_events = 9\nfiles = ['a', 'b']\n";
        assert_eq!(read(text).unwrap(), (Some("zstd".into()), 9, vec!["a".into(), "b".into()]));
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let text = "[buffer]\ncompresion = 'zstd'\nmax_events = 'many'\nfiles = [1]\n[bufer]\n";
        let told = problems(text);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        assert!(
            lines[0].starts_with("a.toml:2:1: [buffer] compresion: unknown key; did you mean `compression`?"),
            "{told}"
        );
        assert!(
            lines[1].starts_with(
                "a.toml:3:14: [buffer] max_events: expected a whole number from 1 to 1000, got a string"
            ),
            "{told}"
        );
        assert!(
            lines[2].starts_with("a.toml:4:10: [buffer] files: expected a string, got an integer"),
            "{told}"
        );
        assert!(lines[3].contains("a.toml:5:2: bufer: unknown key; did you mean `buffer`?"), "{told}");
    }

    #[test]
    fn variables_are_put_in_and_unset_ones_are_mistakes() {
        let home = std::env::var("PATH").unwrap();
        assert_eq!(
            read("[buffer]\ncompression = 'x${PATH}y$${Z}'").unwrap().0,
            Some(format!("x{home}y${{Z}}"))
        );
        assert!(
            problems("[buffer]\ncompression = '${LAPWING_NOT_SET}'").contains("LAPWING_NOT_SET is not set")
        );
        assert!(problems("[buffer]\ncompression = '${OPEN'").contains("no closing"));
    }

    #[test]
    fn syntax_errors_and_wrong_files_are_clear() {
        assert!(problems("[buffer\n").starts_with("a.toml:1:"), "{}", problems("[buffer\n"));
        assert!(problems("buffer = 3").contains("expected a table"));
        assert!(problems("[buffer]\nmax_events = 5000").contains("from 1 to 1000, got 5000"));
        assert!(Reader::open(Path::new("/")).unwrap_err().to_string().contains("regular file"));
        assert!(
            Reader::open(Path::new("/nowhere.toml"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere.toml: can't be read")
        );
    }
}
