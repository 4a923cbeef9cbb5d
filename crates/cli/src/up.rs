//! `lapwing up`: a collector and an agent on this machine, with certificates between them.
//!
//! What it promises: one `up` per data folder; neither child outlives it, however it ends (see [`attached`]); the agent
//! is stopped before the collector, so that what it has read is acknowledged. Configs are written anew at each start, data
//! and certificates are kept.

mod announce;
pub(crate) mod attached;
mod certificates;
mod configs;
mod folder;
mod service;
mod signals;

use std::{future::Future, time::Duration};

use anyhow::anyhow;
use lapwing_service::modes;

use self::{configs::Plan, service::Service, signals::Signals};
use crate::{
    exit::{Exit, Failure},
    home::HomeArgs,
    output,
    ports::{self, Port, Ports, Program},
    program,
};

/// How long a program may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// Start a collector and an agent on this machine, and say how to use them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    home: HomeArgs,
    /// Files to tail instead of those in /var/log; may be given more than once
    #[arg(long, value_name = "GLOB")]
    logs: Vec<String>,
    /// First of three ports: gRPC, HTTP, and the agent's own health and metrics
    #[arg(long, default_value_t = ports::FIRST, value_parser = clap::value_parser!(u16).range(1..=65_533))]
    port: u16,
}

/// Prepares the folder, starts both programs, and runs until a signal or until one of them ends.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    modes::keep_private();
    let mut signals = Signals::new()?;
    let home = args.home.home()?;
    let _lock = folder::take(&home)?;
    let mut pair = Pair {
        collector: Service::new(program::COLLECTOR, &home)?,
        agent: Service::new(program::AGENT, &home)?,
    };
    let ports = Ports::from(args.port);
    ports.all().into_iter().try_for_each(refuse_used)?;
    let plan = Plan::new(&home, ports, &args.logs)?;
    certificates::make_missing(&home, plan.agent_id())?;
    plan.write()?;
    let ended = tokio::select! {
        ended = pair.serve(&plan) => ended,
        () = signals.next() => Ok(()),
    };
    let stopped = unless_again(&mut signals, pair.stop()).await;
    ended.and(stopped)
}

/// A port that is taken would end a child later, with fewer words.
fn refuse_used(port: u16) -> Result<(), Failure> {
    let holder = match ports::look(port) {
        Port::Free => return Ok(()),
        Port::Used(Some(Program { name, id })) => format!("is in use by {name} (process {id})"),
        Port::Used(None) => "is in use by another program".to_owned(),
        Port::Unusable(error) => format!("can't be used: {error}"),
    };
    Err(Exit::Broke.because(anyhow!("port {port} {holder}; stop it, or choose other ports with --port")))
}

/// A second signal ends everything at once: dropping a service kills it.
async fn unless_again(
    signals: &mut Signals,
    stop: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        stopped = stop => stopped,
        () = signals.next() => Err(Exit::Interrupted.because(anyhow!("not waiting for the programs to end"))),
    }
}

/// The two programs.
struct Pair {
    collector: Service,
    agent: Service,
}

impl Pair {
    /// Starts both, says how to use them, and returns only when one has ended, or did not come up.
    async fn serve(&mut self, plan: &Plan<'_>) -> Result<(), Failure> {
        self.collector.start(&plan.collector_config())?;
        self.collector.come_up(plan.ports().http).await?;
        self.agent.start(&plan.agent_config())?;
        tokio::select! {
            up = self.agent.come_up(plan.ports().admin) => up?,
            failed = self.collector.end() => return Err(failed),
        }
        output::line(announce::text(plan)?)?;
        tokio::select! {
            failed = self.collector.end() => Err(failed),
            failed = self.agent.end() => Err(failed),
        }
    }

    /// The agent first: the collector still acknowledges what it has read.
    async fn stop(&mut self) -> Result<(), Failure> {
        let agent = self.agent.stop(GRACE).await;
        let collector = self.collector.stop(GRACE).await;
        agent.and(collector)
    }
}
