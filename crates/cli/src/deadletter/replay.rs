//! `lapwing deadletter replay`.
//!
//! A letter's number is taken: the agent sent an empty batch in its place. So its rows go as a batch without a number, with a
//! key that follows from number and content: for a day the collector stores them once, however often they are sent.

use std::{fmt::Write, time::Duration};

use anyhow::anyhow;
use lapwing::{
    batch,
    status::{Kind, retry_after},
    v1::{Batch, IngestRequest, IngestResponse, Origin},
};
use tokio::signal::ctrl_c;
use tonic::Status;

use super::{Letter, Letters, WhichArgs, count, whose::WhoseArgs};
use crate::{
    connection::{Connection, ConnectionArgs},
    escape,
    exit::{Exit, Failure},
    output,
};

/// How long the collector may take for a letter.
const TRY: Duration = Duration::from_secs(30);
/// How often a letter is sent when the collector asks for patience.
const TRIES: u32 = 10;

/// Send dead letters to the collector again
///
/// Their rows are stored as those of the agent they come from: only that agent's certificate or token may send them, which
/// --config finds. With another's the collector refuses, and the letters stay. With --config the flags under "Connection"
/// have no effect. A letter that was taken is moved to `dead-letters/replayed`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    whose: WhoseArgs,
    #[command(flatten)]
    which: WhichArgs,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Sends them, oldest first.
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let letters = args.whose.letters()?;
    let names = args.which.of(&letters)?;
    if args.dry_run {
        for name in &names {
            output::line(format_args!("{name}: {}", letters.read(name)?.summary()))?;
        }
        return output::line(format_args!("{} would be sent", count(names.len())));
    }
    let connection = match args.whose.agent()? {
        Some(agent) => Connection::to(&agent.target, agent.token.as_ref())?,
        None => args.connection.open()?,
    };
    tokio::select! {
        replayed = replay(connection, &letters, &names) => replayed,
        _ = ctrl_c() => Err(Exit::Interrupted.quietly()),
    }
}

async fn replay(mut connection: Connection, letters: &Letters, names: &[String]) -> Result<(), Failure> {
    let (mut rows, mut refused) = (0, 0);
    for (place, name) in names.iter().enumerate() {
        let letter = letters.read(name)?;
        let progress = format!("[{}/{}] {name}: ", place + 1, names.len());
        match send(&mut connection, &letter).await {
            Ok(answer) => {
                letters.done(name)?;
                rows += answer.accepted_rows;
                output::line(format_args!("{progress}{}", taken(&answer)))?;
            }
            Err(status) if is_about_the_letter(&status) => {
                let reason = format!("{}: {}", Kind::of(&status).reason(), status.message());
                letters.refused(name, &reason)?;
                refused += 1;
                output::line(format_args!("{progress}refused again: {}", escape::text(&reason)))?;
            }
            Err(status) => return Err(stopped(&connection, &status)),
        }
    }
    output::line(format_args!(
        "{} sent, {} stored",
        count(names.len() - refused),
        output::counted(rows, "row")
    ))?;
    match refused {
        0 => Ok(()),
        _ => Err(Exit::Unsound.because(anyhow!("{} refused again; the reasons are noted", count(refused)))),
    }
}

fn taken(answer: &IngestResponse) -> String {
    match answer.duplicate_batches {
        0 => format!("{} stored", output::counted(answer.accepted_rows, "row")),
        _ => "was sent before, nothing stored again".to_owned(),
    }
}

/// Whether another letter may fare better: this one is wrong for the collector, every time.
fn is_about_the_letter(status: &Status) -> bool {
    Kind::named(status).is_some_and(|kind| !kind.retry())
}

fn stopped(connection: &Connection, status: &Status) -> Failure {
    if Kind::named(status) == Some(Kind::PermissionDenied) {
        return Exit::Refused.because(anyhow!(
            "the collector refused: {}; rows are stored as those of the agent they come from: \
             give the agent's config (--config), or its certificate or token. The letters stay",
            status.message()
        ));
    }
    connection.failure(status)
}

/// Sends a letter until it is durable, or refused for good.
async fn send(connection: &mut Connection, letter: &Letter) -> Result<IngestResponse, Status> {
    let batch = without_number(letter);
    let mut tries = 1;
    loop {
        let shipment =
            tokio_stream::once(IngestRequest { batch: Some(batch.clone()), ..IngestRequest::default() });
        let mut request = connection.request(shipment);
        request.set_timeout(TRY);
        let status = match connection.ingest.ingest(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        let patience =
            matches!(Kind::named(&status), Some(Kind::Overloaded | Kind::Timeout | Kind::OutOfOrder));
        if !patience || tries == TRIES {
            return Err(status);
        }
        tries += 1;
        tokio::time::sleep(retry_after(&status).unwrap_or(Duration::from_secs(1))).await;
    }
}

/// The rows of a letter as a batch that keeps no numbers and moves no positions: the agent has gone past them.
fn without_number(letter: &Letter) -> Batch {
    let origin = Origin { agent_id: letter.agent().to_owned(), epoch: 0, sequence: 0, ..Origin::default() };
    Batch {
        origin: Some(origin),
        resource: letter.batch.resource.clone(),
        payload: letter.batch.payload.clone(),
        idempotency_key: key(letter),
        ..Batch::default()
    }
}

/// Number and digest: the number alone would not do where somebody gives two files one name.
fn key(letter: &Letter) -> String {
    let digest = letter.packed().map(batch::digest).unwrap_or_default();
    let origin = letter.batch.origin.clone().unwrap_or_default();
    let mut key = format!("dead-letter/{:016x}-{}/", origin.epoch, origin.sequence);
    for byte in digest {
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadletter::letters::tests::write;

    #[test]
    fn a_letter_goes_without_number_and_with_the_same_key_every_time() {
        let state = tempfile::tempdir().unwrap();
        let letters = Letters::open(&state.path().join("dead-letters")).unwrap();
        let (first, second) = (write(letters.folder(), 1), write(letters.folder(), 2));
        let batch = |name: &str| without_number(&letters.read(name).unwrap());
        let origin = batch(&first).origin.unwrap();
        assert_eq!((origin.agent_id.as_str(), origin.epoch, origin.sequence), ("a", 0, 0));
        assert!(batch(&first).positions.is_empty() && batch(&first).payload.is_some());
        assert_ne!(batch(&first).idempotency_key, batch(&second).idempotency_key);
        assert!(batch(&first).idempotency_key.starts_with("dead-letter/00000000000000ab-1/"));
        let sent = batch(&first).idempotency_key;
        letters.done(&first).unwrap();
        assert_eq!(key(&letters.replayed().read(&first).unwrap()), sent);
    }

    #[test]
    fn only_a_refusal_of_the_letter_itself_lets_the_next_one_try() {
        assert!(is_about_the_letter(&Kind::TooLarge.status("a log body")));
        assert!(is_about_the_letter(&Kind::InvalidArgument.status("x")));
        for kind in [Kind::PermissionDenied, Kind::Unauthenticated, Kind::Overloaded, Kind::Internal] {
            assert!(!is_about_the_letter(&kind.status("x")), "{kind:?}");
        }
        assert!(!is_about_the_letter(&Status::not_found("a proxy's word")));
    }
}
