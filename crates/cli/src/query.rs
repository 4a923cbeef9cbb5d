//! `lapwing query`.

mod cell;
mod printer;
mod table;

use std::io::{self, BufWriter};

use anyhow::anyhow;
use lapwing::v1::{SqlFormat, SqlRequest};
use tokio::signal::ctrl_c;

pub(crate) use self::printer::Printer;
use crate::{
    connection::{Connection, ConnectionArgs},
    exit::{Exit, Failure},
    output::{self, Palette},
};

const EXAMPLES: &str = "\
Examples:
  lapwing query \"SELECT time, host, source, body FROM logs ORDER BY seq DESC LIMIT 10\"
  lapwing query --format csv - <statement.sql >answer.csv";

/// Ask in SQL
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// One read-only statement; `-` reads it from stdin
    sql: String,
    /// Form of the answer [default: table on a terminal, ndjson elsewhere]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Most rows to return [default: the collector's limit]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_rows: u32,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns under each other; long values are cut to the width of the terminal.
    Table,
    /// One array of objects.
    Json,
    /// An object per line.
    Ndjson,
    /// RFC 4180 with a header.
    Csv,
}

/// Asks, and prints the answer as it comes.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let query = statement(&args.sql)?;
    let request = SqlRequest { query, format: SqlFormat::Rows.into(), max_rows: args.max_rows };
    let usual = if output::is_terminal() { Format::Table } else { Format::Ndjson };
    let format = args.format.unwrap_or(usual);
    let connection = args.connection.open()?;
    tokio::select! {
        answered = ask(connection, request, format) => answered,
        _ = ctrl_c() => Err(Exit::Interrupted.quietly()),
    }
}

fn statement(sql: &str) -> Result<String, Failure> {
    let query = if sql == "-" { output::read_stdin("the statement")? } else { sql.to_owned() };
    if query.trim().is_empty() {
        let example = "SELECT * FROM logs LIMIT 10";
        return Err(Exit::Usage.because(anyhow!("the statement is empty; write one such as \"{example}\"")));
    }
    Ok(query)
}

async fn ask(mut connection: Connection, request: SqlRequest, format: Format) -> Result<(), Failure> {
    let request = connection.request(request);
    let answer = connection.client.sql(request).await;
    let mut parts = answer.map_err(|status| connection.failure(&status))?.into_inner();
    let out = BufWriter::new(io::stdout().lock());
    let mut printer = Printer::new(out, format, output::width(), Palette::for_stdout());
    let mut truncated = false;
    while let Some(part) = parts.message().await.map_err(|status| connection.failure(&status))? {
        truncated |= part.truncated;
        printer.print(part).map_err(output::failed)?;
    }
    let rows = printer.finish().map_err(output::failed)?;
    tell_count(rows, truncated, format);
    Ok(())
}

fn tell_count(rows: u64, truncated: bool, format: Format) {
    if format == Format::Table {
        output::note(format_args!("({rows} {})", if rows == 1 { "row" } else { "rows" }));
    }
    if truncated {
        output::note(format_args!("cut at {rows} rows; --max-rows takes more, up to the collector's limit"));
    }
}
