//! lapwing's collector.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lapwing_collector::{
    collector,
    config::{Auth, CollectorConfig},
};
use lapwing_service::{config::Reader, logs, memory, modes, shutdown, tls};
use lapwing_store::process::{self, ChildOptions};

/// Takes telemetry from agents, keeps it, and answers questions about it in SQL.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit codes: 0 stopped as told, 1 it broke, 2 wrong usage or configuration.")]
struct Args {
    /// The collector's config file.
    #[arg(long, default_value = "/etc/lapwing/collector.toml")]
    config: PathBuf,
    /// Check the config file, say what is wrong with it, and do nothing else.
    #[arg(long)]
    check: bool,
    /// Answer queries on the standard input, for the collector that started this: the lake's folder, the memory of all
    /// queries, and a folder for what it can't hold.
    #[arg(long, hide = true, num_args = 3, value_names = ["LAKE", "BYTES", "FOLDER"])]
    query_process: Option<Vec<String>>,
}

fn main() -> ExitCode {
    modes::keep_private();
    let args = Args::parse();
    if let Some(words) = &args.query_process {
        return answer_queries(words);
    }
    let kept = if args.check { None } else { memory::give_back_what_is_freed() };
    logs::init();
    if let Some(error) = kept {
        tracing::warn!("freed memory may be kept: {error}");
    }
    let config = match Reader::open(&args.config).and_then(CollectorConfig::read) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors);
            return ExitCode::from(2);
        }
    };
    let open = modes::writable_by_others(&args.config);
    config.warnings.iter().chain(&open).for_each(|warning| tracing::warn!("{warning}"));
    if args.check {
        return check(&config);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What stands in the files that the config names.
fn check(config: &CollectorConfig) -> ExitCode {
    let Some(files) = &config.tls else { return ExitCode::SUCCESS };
    let require = matches!(config.auth, Auth::Mtls);
    let side = tls::server(&files.cert_file, &files.key_file, files.client_ca_file.as_deref(), require);
    match tls::verdict(side.map(|side| Some(side.validity))) {
        Ok(warning) => {
            warning.iter().for_each(|warning| tracing::warn!("[tls] {warning}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format_args!("[tls] {error}"));
            ExitCode::from(2)
        }
    }
}

fn answer_queries(words: &[String]) -> ExitCode {
    let [lake, memory, spill] = words else { return ExitCode::from(2) };
    let Ok(max_memory) = memory.parse() else { return ExitCode::from(2) };
    process::run(&ChildOptions {
        lake: (lake != collector::NO_LAKE).then(|| lake.into()),
        spill: spill.into(),
        max_memory,
    })
}

fn run(config: CollectorConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { collector::run(config, shutdown::on_signal()?).await })
}

#[expect(clippy::print_stderr, reason = "a wrong config is told to whoever started the program, not logged")]
fn complain(errors: &impl std::fmt::Display) {
    eprintln!("{errors}");
}
