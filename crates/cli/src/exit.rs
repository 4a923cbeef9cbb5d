//! How the program ends: a closed set of exit codes, and errors that carry one.

use std::process::ExitCode;

use lapwing::status::Kind;

use crate::{escape, output};

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Something broke.
    Broke = 1,
    /// Wrong arguments, or a wrong config, certificate or token file.
    Usage = 2,
    /// The collector can't be reached, or went away.
    Unreachable = 3,
    /// The collector does not know the caller, or does not let it.
    Refused = 4,
    /// The collector did not accept the question itself.
    Query = 5,
    /// What was looked at is not whole.
    Unsound = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

const TABLE: [(Exit, &str); 8] = [
    (Exit::Done, "done"),
    (Exit::Broke, "something broke"),
    (Exit::Usage, "wrong usage or configuration"),
    (Exit::Unreachable, "the collector can't be reached, or the connection ended"),
    (Exit::Refused, "refused: not authenticated, or not allowed"),
    (Exit::Query, "the query is wrong"),
    (Exit::Unsound, "damage was found, or batches were refused again"),
    (Exit::Interrupted, "interrupted by Ctrl-C"),
];

/// The exit codes as a paragraph of `--help`.
pub(crate) fn help() -> String {
    let line = |(exit, meaning): &(Exit, &str)| format!("\n  {:>3}  {meaning}", *exit as u8);
    format!("Exit codes:{}", TABLE.iter().map(line).collect::<String>())
}

impl Exit {
    /// The code for a collector's refusal.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Unauthenticated | Kind::PermissionDenied => Self::Refused,
            Kind::InvalidArgument | Kind::TooLarge | Kind::NotFound => Self::Query,
            Kind::Unavailable => Self::Unreachable,
            // The rest is of the moment, a fault of the collector, or about batches: whoever sends some asks before.
            _ => Self::Broke,
        }
    }

    /// A failure that ends with this code.
    pub(crate) fn because(self, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit: self, error: Some(error.into()) }
    }

    /// A failure that needs no words.
    pub(crate) fn quietly(self) -> Failure {
        Failure { exit: self, error: None }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed, and the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: Option<anyhow::Error>,
}

impl Failure {
    /// Tells the user, and returns the code to end with.
    pub(crate) fn tell(self) -> Exit {
        if let Some(error) = self.error {
            // Other programs' words may be in it: nothing in them may steer the terminal.
            let text = format!("{error:#}");
            let lines: Vec<_> = text.lines().map(escape::text).collect();
            output::note(format_args!("error: {}", lines.join("\n")));
        }
        self.exit
    }
}

#[cfg(test)]
impl Failure {
    /// The code and the words, to compare.
    pub(crate) fn parts(&self) -> (Exit, String) {
        (self.exit, self.error.as_ref().map(|error| format!("{error:#}")).unwrap_or_default())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Exit::Broke.because(error)
    }
}

/// Gives an error its exit code.
pub(crate) trait OrExit<T> {
    /// The value, or a failure that ends with `exit`.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| exit.because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_with_the_code_of_its_kind() {
        let cases = [
            (Kind::Unauthenticated, 4),
            (Kind::PermissionDenied, 4),
            (Kind::InvalidArgument, 5),
            (Kind::TooLarge, 5),
            (Kind::NotFound, 5),
            (Kind::Unavailable, 3),
            (Kind::Overloaded, 1),
            (Kind::Timeout, 1),
            (Kind::Internal, 1),
        ];
        for (kind, code) in cases {
            assert_eq!(Exit::of(kind) as u8, code, "{kind:?}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_a_breakage_and_keeps_its_cause() {
        let error = anyhow::anyhow!("no space left").context("write x");
        assert_eq!(Failure::from(error).parts(), (Exit::Broke, "write x: no space left".to_owned()));
    }
}
