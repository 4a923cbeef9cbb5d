//! The closed set of reasons why a request is refused, and the one table from a reason to codes and to "try again?".

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of the `google.rpc.ErrorInfo` that carries a [`Kind`].
pub const DOMAIN: &str = "lapwing";
/// Key of the `google.rpc.ErrorInfo` that says up to which sequence batches of the run are durable.
const DURABLE: &str = "durable_sequence";

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No valid certificate or token.
    Unauthenticated,
    /// Known, but not allowed to do this.
    PermissionDenied,
    /// Wrong in itself: it will be refused every time.
    InvalidArgument,
    /// Over a limit: it will be refused every time.
    TooLarge,
    /// What it names does not exist.
    NotFound,
    /// The collector does not know the epoch: call `Resume`.
    ResumeFirst,
    /// A newer run of the same agent took over.
    Fenced,
    /// The number is taken by other bytes.
    Conflict,
    /// The payload is not what its digest vouches for: it changed on the way.
    Corrupted,
    /// An earlier batch of the epoch is missing.
    OutOfOrder,
    /// Too much at the moment: wait as long as the answer says.
    Overloaded,
    /// It took too long.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// The server can't be reached or is going down.
    Unavailable,
    /// A fault of the server.
    Internal,
}

/// One line of the table.
struct Row(Kind, &'static str, Code, u16, bool);

const TABLE: [Row; 15] = [
    Row(Kind::Unauthenticated, "UNAUTHENTICATED", Code::Unauthenticated, 401, true),
    Row(Kind::PermissionDenied, "PERMISSION_DENIED", Code::PermissionDenied, 403, true),
    Row(Kind::InvalidArgument, "INVALID_ARGUMENT", Code::InvalidArgument, 400, false),
    Row(Kind::TooLarge, "TOO_LARGE", Code::OutOfRange, 413, false),
    Row(Kind::NotFound, "NOT_FOUND", Code::NotFound, 404, false),
    Row(Kind::ResumeFirst, "RESUME_FIRST", Code::FailedPrecondition, 409, false),
    Row(Kind::Fenced, "FENCED", Code::FailedPrecondition, 409, false),
    Row(Kind::Conflict, "CONFLICT", Code::AlreadyExists, 409, false),
    Row(Kind::Corrupted, "CORRUPTED", Code::DataLoss, 400, true),
    Row(Kind::OutOfOrder, "OUT_OF_ORDER", Code::Aborted, 409, true),
    Row(Kind::Overloaded, "OVERLOADED", Code::ResourceExhausted, 429, true),
    Row(Kind::Timeout, "TIMEOUT", Code::DeadlineExceeded, 504, true),
    Row(Kind::Cancelled, "CANCELLED", Code::Cancelled, 499, true),
    Row(Kind::Unavailable, "UNAVAILABLE", Code::Unavailable, 503, true),
    Row(Kind::Internal, "INTERNAL", Code::Internal, 500, true),
];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = {
        let mut all = [Self::Unauthenticated; 15];
        let mut place = 0;
        while place < all.len() {
            all[place] = TABLE[place].0;
            place += 1;
        }
        all
    };

    fn row(self) -> &'static Row {
        // The table lists the kinds in their order; a test holds it to that.
        &TABLE[self as usize]
    }

    /// Its name on the wire: `ErrorInfo.reason`.
    pub fn reason(self) -> &'static str {
        self.row().1
    }

    /// Its gRPC code.
    pub fn code(self) -> Code {
        self.row().2
    }

    /// Its HTTP status code.
    pub fn http(self) -> u16 {
        self.row().3
    }

    /// Whether the very same request may succeed later.
    pub fn retry(self) -> bool {
        self.row().4
    }

    /// A gRPC status that carries the kind.
    pub fn status(self, message: impl Into<String>) -> Status {
        let details = ErrorDetails::with_error_info(self.reason(), DOMAIN, HashMap::new());
        Status::with_error_details(self.code(), message, details)
    }

    /// As [`Kind::status`], with the time after which to try again (`google.rpc.RetryInfo`).
    pub fn status_after(self, message: impl Into<String>, delay: Duration) -> Status {
        let mut details = ErrorDetails::with_error_info(self.reason(), DOMAIN, HashMap::new());
        details.set_retry_info(Some(delay));
        Status::with_error_details(self.code(), message, details)
    }

    /// The kind a status carries; `None` when it comes from elsewhere: a proxy, the network, the library.
    pub fn named(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
        TABLE.iter().find(|row| row.1 == info.reason).map(|row| row.0)
    }

    /// The kind a status carries or, when it comes from elsewhere, the one its code stands for.
    pub fn of(status: &Status) -> Self {
        if let Some(kind) = Self::named(status) {
            return kind;
        }
        match status.code() {
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::OutOfRange => Self::TooLarge,
            Code::NotFound | Code::Unimplemented => Self::NotFound,
            Code::ResourceExhausted => Self::Overloaded,
            Code::DeadlineExceeded => Self::Timeout,
            Code::Cancelled => Self::Cancelled,
            Code::Unavailable => Self::Unavailable,
            Code::Aborted => Self::OutOfOrder,
            Code::DataLoss => Self::Corrupted,
            _ => Self::Internal,
        }
    }
}

/// The refusal of a batch that came too early: what is durable ends with `durable`. A run that knows of more can tell by it that the
/// collector lost something.
pub fn out_of_order(message: impl Into<String>, durable: u64, delay: Duration) -> Status {
    let held = HashMap::from([(DURABLE.to_owned(), durable.to_string())]);
    let mut details = ErrorDetails::with_error_info(Kind::OutOfOrder.reason(), DOMAIN, held);
    details.set_retry_info(Some(delay));
    Status::with_error_details(Kind::OutOfOrder.code(), message, details)
}

/// Up to which sequence batches of the run are durable, when a refusal says it.
pub fn durable_sequence(status: &Status) -> Option<u64> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    info.metadata.get(DURABLE)?.parse().ok()
}

/// How long the server asks the caller to wait.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_kind_in_its_place() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, place);
            assert_eq!(Kind::of(&row.0.status("x")), row.0);
        }
    }

    #[test]
    fn a_status_without_details_is_read_by_its_code() {
        assert_eq!(Kind::of(&Status::unavailable("x")), Kind::Unavailable);
        assert_eq!(Kind::of(&Status::resource_exhausted("x")), Kind::Overloaded);
    }

    #[test]
    fn the_delay_travels_with_the_status() {
        let status = Kind::Overloaded.status_after("full", Duration::from_millis(250));
        assert_eq!(retry_after(&status), Some(Duration::from_millis(250)));
        assert_eq!(Kind::of(&status), Kind::Overloaded);
        assert_eq!(retry_after(&Kind::Internal.status("x")), None);
    }

    #[test]
    fn a_batch_that_came_too_early_is_told_what_is_durable() {
        let status = out_of_order("early", 41, Duration::from_millis(100));
        assert_eq!((Kind::of(&status), durable_sequence(&status)), (Kind::OutOfOrder, Some(41)));
        assert_eq!(retry_after(&status), Some(Duration::from_millis(100)));
        assert_eq!(durable_sequence(&Kind::OutOfOrder.status("by an older collector")), None);
    }
}
