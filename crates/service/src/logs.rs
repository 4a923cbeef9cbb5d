//! The program's own log: to stderr, as text or JSON.
//!
//! One event is one line, whatever is in it: control characters of messages and fields are escaped where lines are written, since what
//! is logged may come from others. So nobody can write a line that looks like one of the program's own.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
};

use tracing::field::Field;
use tracing_subscriber::{EnvFilter, field::MakeExt, fmt::FormatFields};

/// Starts logging. `LAPWING_LOG` sets the level (`info` when unset, or a filter such as `lapwing_agent=debug`), and
/// `LAPWING_LOG_FORMAT=json` the form. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("LAPWING_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Tests start several parts in one process: the first one wins.
    let _ = match std::env::var("LAPWING_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().with_writer(|| OneLine(io::stderr())).try_init(),
        _ => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(is_terminal).fmt_fields(fields()).with_writer(io::stderr).try_init()
        }
    };
}

/// Messages as they are, other fields as `name=value`, all with what is not to be shown escaped.
fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    tracing_subscriber::fmt::format::debug_fn(|writer, field: &Field, value| {
        let mut escaped = Escaped(writer);
        match field.name() {
            "message" => write!(escaped, "{value:?}"),
            name => write!(escaped, "{name}={value:?}"),
        }
    })
    .delimited(" ")
}

/// Whether a character can end a line, move a cursor, or turn the text around it.
fn is_unsafe(char: char) -> bool {
    let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || turns || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Escapes what is written through it.
struct Escaped<W>(W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(place) = rest.find(is_unsafe) {
            let (before, found) = rest.split_at(place);
            self.0.write_str(before)?;
            let mut chars = found.chars();
            if let Some(char) = chars.next() {
                write!(self.0, "{}", char.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Escapes what JSON leaves as it is. A line is written as a whole, its end is the only one.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n');
        let mut escaped = String::with_capacity(text.len() + 1);
        for char in line.unwrap_or(&text).chars() {
            match char {
                char if is_unsafe(char) => _ = write!(escaped, "\\u{:04x}", u32::from(char)),
                char => escaped.push(char),
            }
        }
        if line.is_some() {
            escaped.push('\n');
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FOREIGN: &str =
        "none\n2026-11-28T00:00:00Z  INFO lease given agent=\"admin\"\r\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2028}";

    fn log_foreign() {
        tracing::warn!(address = FOREIGN, other = %FOREIGN, "the token is refused: {FOREIGN}");
    }

    fn assert_one_clean_line(sink: &Sink) -> String {
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with('\n') && !text.trim_end_matches('\n').contains(is_unsafe), "{text:?}");
        assert!(text.contains(r"none\n2026"), "{text}");
        text
    }

    #[test]
    fn what_others_say_is_one_line_of_text() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(fields())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log_foreign);
        let text = assert_one_clean_line(&sink);
        assert!(text.contains("WARN the token is refused: none") && text.contains(" other=none"), "{text}");
    }

    #[test]
    fn what_others_say_is_one_line_of_json() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || OneLine(writer.clone())).finish();
        tracing::subscriber::with_default(subscriber, log_foreign);
        let text = assert_one_clean_line(&sink);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["fields"]["address"], FOREIGN);
    }
}
