//! What is printed: results to stdout, words about them to stderr.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use anyhow::Context;
use rustix::termios::tcgetwinsize;

use crate::exit::{Exit, Failure};

/// Writes a line to stdout.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(failed)
}

/// Writes a line to stderr.
pub(crate) fn note(text: impl Display) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Why stdout could not be written. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn failed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Done.quietly();
    }
    Failure::from(anyhow::Error::from(error).context("write to stdout"))
}

/// `1 record`, `2 records`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// All of stdin as text.
pub(crate) fn read_stdin(what: &str) -> Result<String, Failure> {
    Ok(io::read_to_string(io::stdin()).with_context(|| format!("read {what} from stdin"))?)
}

/// Whether stdout is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns of the terminal that stdout is; `None` when it is none.
pub(crate) fn width() -> Option<usize> {
    if !is_terminal() {
        return None;
    }
    let told = || env::var("COLUMNS").ok()?.parse().ok();
    let size = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    size.filter(|columns| *columns > 0).or_else(told)
}

/// How text is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// A name.
    Cyan,
    /// Look here.
    Yellow,
    /// Something failed.
    Red,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    colours: bool,
}

impl Palette {
    /// Colours on a terminal, unless `NO_COLOR` (https://no-color.org) or `TERM=dumb` says otherwise.
    pub(crate) fn for_stdout() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: is_terminal() && !unwanted && env::var_os("TERM").is_none_or(|term| term != "dumb") }
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { colours: false }
    }

    /// Whether there are any.
    pub(crate) fn has_colours(self) -> bool {
        self.colours
    }

    /// `text` in `tone`.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            _ if !self.colours || text.is_empty() => return text.to_owned(),
            Tone::Dim => 2,
            Tone::Cyan => 36,
            Tone::Yellow => 33,
            Tone::Red => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = failed(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(gone.parts(), (Exit::Done, String::new()));
        assert_eq!(failed(io::Error::other("full")).parts().0, Exit::Broke);
    }

    #[test]
    fn colours_are_used_only_where_there_are_any() {
        assert_eq!(Palette::none().paint(Tone::Red, "x"), "x");
        let colours = Palette { colours: true };
        assert_eq!(colours.paint(Tone::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(colours.paint(Tone::Plain, "x"), "x");
    }
}
