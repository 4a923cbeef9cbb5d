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
  lapwing why
  lapwing why --agent web-1
  lapwing why --agent web-1 --source /var/log/nginx/access.log
The same figures in SQL: lapwing query \"SELECT * FROM ledger WHERE agent = 'web-1'\"";

/// Say where an agent's events went: read, dropped and why, journaled, stored
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this agent; without it all of them, a line each
    #[arg(long)]
    agent: Option<String>,
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
        return Err(Exit::Broke.because(nothing(args)));
    }
    let palette = Palette::for_stdout();
    for accounts in accounts.chunk_by(|one, next| one.agent() == next.agent()) {
        output::line(account::summary(accounts.first().map_or("", Account::agent), accounts))?;
        // Of all agents only what is wrong has lines of its own: they may be many.
        let told = |account: &&Account| args.agent.is_some() || args.source.is_some() || !account.is_whole();
        for account in accounts.iter().filter(told) {
            output::line(account.words(palette))?;
        }
    }
    Ok(())
}

fn nothing(args: &Args) -> anyhow::Error {
    let whose = args.agent.as_ref().map_or("any agent".to_owned(), |agent| format!("agent {agent:?}"));
    let source = args.source.as_ref().map_or(String::new(), |source| format!(" with source {source:?}"));
    anyhow!(
        "nothing ever came from {whose}{source}; `lapwing query \"SELECT DISTINCT agent, source FROM ledger\"` lists what did"
    )
}

fn statement(args: &Args) -> String {
    let wanted = [("agent", &args.agent), ("source", &args.source)];
    let conditions: Vec<String> = wanted
        .iter()
        .filter_map(|(column, value)| Some(format!("{column} = {}", quoted(value.as_ref()?))))
        .collect();
    let filter =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("SELECT {} FROM ledger{filter} ORDER BY agent, source, kind DESC, time", COLUMNS.join(", "))
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
