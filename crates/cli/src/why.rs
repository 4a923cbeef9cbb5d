//! `lapwing why`.

mod account;

use anyhow::anyhow;
use lapwing::v1::{SqlFormat, SqlRequest};
use prost_types::ListValue;
use tokio::signal::ctrl_c;

use self::account::{Account, COLUMNS};
use crate::{
    connection::{Connection, ConnectionArgs},
    exit::{Exit, Failure},
    output::{self, Palette},
};

const EXAMPLES: &str = "\
Examples:
  lapwing why --agent web-1
  lapwing why --agent web-1 --source /var/log/nginx/access.log
The same figures in SQL: lapwing query \"SELECT * FROM ledger WHERE agent = 'web-1'\"";

/// Say where an agent's events went: read, dropped and why, journaled, stored
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The agent
    #[arg(long)]
    agent: String,
    /// Only this source
    #[arg(long)]
    source: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Asks the ledger and puts it in words.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let connection = args.connection.open()?;
    let accounts = tokio::select! {
        asked = ask(connection, statement(args)) => asked?,
        _ = ctrl_c() => return Err(Exit::Interrupted.quietly()),
    };
    if accounts.is_empty() {
        let whose = args.source.as_ref().map_or(String::new(), |source| format!(" with source {source:?}"));
        return Err(Exit::Broke.because(anyhow!(
            "nothing ever came from agent {:?}{whose}; `lapwing query \"SELECT DISTINCT agent, source FROM ledger\"` lists what did",
            args.agent
        )));
    }
    let palette = Palette::for_stdout();
    output::line(account::summary(&args.agent, &accounts))?;
    for account in &accounts {
        output::line(account.words(palette))?;
    }
    Ok(())
}

fn statement(args: &Args) -> String {
    let source =
        args.source.as_ref().map_or(String::new(), |source| format!(" AND source = {}", quoted(source)));
    format!(
        "SELECT {} FROM ledger WHERE agent = {}{source} ORDER BY source, kind DESC, time",
        COLUMNS.join(", "),
        quoted(&args.agent)
    )
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn ask(mut connection: Connection, query: String) -> Result<Vec<Account>, Failure> {
    let request = SqlRequest { query, format: SqlFormat::Rows.into(), max_rows: 0 };
    let request = connection.request(request);
    let answer = connection.client.sql(request).await;
    let mut parts = answer.map_err(|status| connection.failure(&status))?.into_inner();
    let mut rows: Vec<ListValue> = Vec::new();
    while let Some(part) = parts.message().await.map_err(|status| connection.failure(&status))? {
        rows.extend(part.rows);
    }
    Ok(rows.iter().map(Account::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_end_the_statement() {
        assert_eq!(quoted("a' OR '1'='1"), "'a'' OR ''1''=''1'");
    }
}
