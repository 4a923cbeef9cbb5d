//! `lapwing tail`.

pub(crate) mod line;

use std::{
    collections::HashMap,
    io::{self, Write},
};

use anyhow::anyhow;
use lapwing::v1::{LogFilter, TailRequest, TailResponse};
use tokio::signal::ctrl_c;

use crate::{
    connection::{Connection, ConnectionArgs},
    exit::{Exit, Failure},
    output::{self, Palette},
};

/// OpenTelemetry's largest severity number.
const MAX_SEVERITY: u32 = 24;
const SEVERITIES: [(&str, u32); 6] =
    [("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("error", 17), ("fatal", 21)];

/// Print log records as they arrive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only bodies that contain this text, letter case ignored
    #[arg(long, default_value = "", hide_default_value = true)]
    text: String,
    /// Only this host
    #[arg(long, default_value = "", hide_default_value = true)]
    host: String,
    /// Only sources like this (`*` and `?` stand for any text and any character)
    #[arg(long, value_name = "GLOB", default_value = "", hide_default_value = true)]
    source: String,
    /// Only this severity and above: a number from 0 to 24, or trace, debug, info, warn, error, fatal
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true, value_parser = severity)]
    min_severity: u32,
    /// Only records with this attribute; may be given more than once
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// How many of the newest stored records to print first
    #[arg(long, value_name = "N", default_value_t = 10)]
    backlog: u32,
    /// Form of a record
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Time, host, source and body.
    Text,
    /// An object per line.
    Ndjson,
}

fn severity(text: &str) -> Result<u32, String> {
    let named =
        SEVERITIES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, number)| *number);
    let number = named.or_else(|| text.parse().ok()).filter(|number| *number <= MAX_SEVERITY);
    let names = SEVERITIES.map(|(name, _)| name).join(", ");
    number
        .ok_or_else(|| format!("expected a number from 0 to {MAX_SEVERITY} or one of {names}; got {text:?}"))
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| format!("expected KEY=VALUE, got {text:?}"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Prints until Ctrl-C, or until the connection ends.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let request = TailRequest { filter: Some(filter(args)), backlog: args.backlog };
    let connection = args.connection.open()?;
    if args.min_severity > 0 {
        output::note(format_args!(
            "lines that name no severity are left out, such as the rest of a stack trace"
        ));
    }
    tokio::select! {
        ended = follow(connection, request, args.format) => ended,
        _ = ctrl_c() => Err(Exit::Interrupted.quietly()),
    }
}

fn filter(args: &Args) -> LogFilter {
    LogFilter {
        text: args.text.clone(),
        host: args.host.clone(),
        source: args.source.clone(),
        min_severity_number: args.min_severity,
        attributes: args.attributes.iter().cloned().collect::<HashMap<_, _>>(),
    }
}

async fn follow(mut connection: Connection, request: TailRequest, format: Format) -> Result<(), Failure> {
    let request = connection.request(request);
    let answer = connection.client.tail(request).await;
    let mut parts = answer.map_err(|status| connection.failure(&status))?.into_inner();
    let palette = Palette::for_stdout();
    while let Some(part) = parts.message().await.map_err(|status| connection.failure(&status))? {
        if part.skipped > 0 {
            output::note(format_args!(
                "{} records left out: they came faster than they were taken",
                part.skipped
            ));
        }
        print(&part, format, palette).map_err(output::failed)?;
    }
    let endpoint = connection.endpoint();
    Err(Exit::Unreachable
        .because(anyhow!("the collector at {endpoint} ended the connection; start `lapwing tail` again")))
}

fn print(part: &TailResponse, format: Format, palette: Palette) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for log in &part.logs {
        match format {
            Format::Text => writeln!(out, "{}", line::text(log, palette))?,
            Format::Ndjson => writeln!(out, "{}", line::json(log)?)?,
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_is_a_number_or_a_name() {
        assert_eq!(
            (severity("13"), severity("warn"), severity("ERROR"), severity("0")),
            (Ok(13), Ok(13), Ok(17), Ok(0))
        );
        for bad in ["25", "-1", "loud", ""] {
            assert!(severity(bad).unwrap_err().contains("from 0 to 24"), "{bad}");
        }
    }

    #[test]
    fn an_attribute_may_have_an_equals_sign_in_its_value() {
        assert_eq!(attribute("query=a=b"), Ok(("query".to_owned(), "a=b".to_owned())));
        assert_eq!(attribute("empty="), Ok(("empty".to_owned(), String::new())));
        assert!(attribute("novalue").is_err() && attribute("=x").is_err());
    }
}
