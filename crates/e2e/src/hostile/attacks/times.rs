//! Times at the ends of what can be written down.

use anyhow::{Context, Result, ensure};
use lapwing::v1::{Batch, LogRecord, Rows, batch::Payload, log_record::Content};
use lapwing_service::clock::now;
use tonic::Code;

use super::{Attack, flood};
use crate::{
    hostile::field::{Field, Who},
    http,
};

pub(super) const ALL: &[Attack] = &[Attack::new(
    "times",
    "an agent or user",
    "rows at the ends of time, and of 10,000 days in a batch",
    times,
)];

const DAY: u64 = 86_400_000_000_000;

fn times(field: &Field) -> Result<String> {
    let record = |time| LogRecord {
        time_unix_nano: time,
        source: "times".to_owned(),
        content: Some(Content::Body("x".to_owned())),
        ..LogRecord::default()
    };
    let batch = |times: Vec<u64>| Batch {
        payload: Some(Payload::Rows(Rows {
            logs: times.into_iter().map(record).collect(),
            ..Rows::default()
        })),
        ..Batch::default()
    };
    let ends = vec![1, u64::MAX, 1 << 63, (1 << 63) - 1, (1 << 63) - 2, now() + DAY, now() + 365 * DAY];
    let days: Vec<u64> = (0..10_000).map(|day| day * DAY + 1).collect();
    let answers = flood(field, Who::User, 2, &[batch(ends), batch(days)])?;
    ensure!(answers.of(Code::Ok) >= 2, "too few were accepted: {}", answers.shown());

    let newest = "SELECT count(*) AS n FROM logs WHERE time > now() + INTERVAL '1 hour'";
    let rows = http::rows(&field.rig.http, newest)?;
    let ahead = rows.first().context("no answer")?["n"].as_u64().context("no count")?;
    ensure!(ahead == 0, "{ahead} rows lie in the future");
    Ok(answers.shown())
}
