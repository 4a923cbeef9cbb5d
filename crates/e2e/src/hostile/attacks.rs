//! The attacks, by what they aim at.

mod answers;
mod batches;
mod names;
mod peers;
mod queries;
mod state;
mod times;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use lapwing::{
    batch,
    codec::Compressor,
    columns::{Columns, LogColumns, Text},
    undecoded::Undecoded,
    v1::{
        Batch, Codec, IngestRequest, IngestResponse, batch::Payload,
        ingest_service_client::IngestServiceClient,
    },
};
use lapwing_service::clock::now;
use tonic::{Code, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use super::field::{Client, Field};

/// Lines of a batch that attackers fill the store with.
const LINES: u64 = 1_000;

/// What a collector may usually use.
const MEMORY: u64 = 384 << 20;

/// One way to do harm.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, for the table.
    pub what: &'static str,
    /// Whose credentials it needs.
    pub who: &'static str,
    /// A part of the short form, which `make test` runs.
    pub short: bool,
    /// The collector asks for tokens, not for certificates.
    pub tokens: bool,
    /// More lines for the collector's config.
    pub collector: &'static str,
    /// The collector's `[server] memory_bytes`, and all that it may use.
    pub memory: u64,
    /// Goes on until the field says that it is over; returns what the attacker saw. An error when the attack did not
    /// take place, or when it got what it must not get.
    pub act: fn(&Field) -> Result<String>,
}

impl Attack {
    const fn new(
        name: &'static str,
        who: &'static str,
        what: &'static str,
        act: fn(&Field) -> Result<String>,
    ) -> Self {
        Self { name, what, who, short: false, tokens: false, collector: "", memory: MEMORY, act }
    }

    const fn short(self) -> Self {
        Self { short: true, ..self }
    }

    const fn by_token(self) -> Self {
        Self { tokens: true, ..self }
    }
}

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = Attack> {
    let groups = [batches::ALL, state::ALL, peers::ALL, answers::ALL, queries::ALL, names::ALL, times::ALL];
    groups.into_iter().flatten().copied()
}

/// Answers, by code.
#[derive(Debug, Default, Clone)]
pub struct Answers(BTreeMap<&'static str, u64>);

impl Answers {
    pub(super) fn add(&mut self, code: Code) {
        *self.0.entry(name(code)).or_default() += 1;
    }

    fn all(&self) -> u64 {
        self.0.values().sum()
    }

    fn of(&self, code: Code) -> u64 {
        self.0.get(name(code)).copied().unwrap_or(0)
    }

    pub(super) fn shown(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(code, times)| format!("{times} {code}")).collect();
        parts.join(", ")
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "accepted",
        Code::InvalidArgument => "invalid",
        Code::OutOfRange => "too large",
        Code::ResourceExhausted => "overloaded",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "denied",
        Code::DeadlineExceeded => "timed out",
        Code::FailedPrecondition => "precondition",
        Code::Aborted => "out of order",
        Code::DataLoss => "corrupted",
        Code::Unavailable => "unavailable",
        Code::Cancelled => "cancelled",
        _ => "other errors",
    }
}

/// Sends one batch in a call of its own.
async fn send(client: &mut IngestServiceClient<Client>, batch: Batch) -> Code {
    let request = tokio_stream::once(IngestRequest { batch: Some(batch), ..IngestRequest::default() });
    match client.ingest(request).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

/// Sends the batches again and again, so many calls at a time. They are encoded once: an attacker that spends its time on that holds up the
/// well-behaved agent on the same machine, and not the collector.
fn flood(field: &Field, who: super::Who, calls: usize, batches: &[Batch]) -> Result<Answers> {
    let encode =
        |batch: &Batch| Undecoded::from(IngestRequest { batch: Some(batch.clone()), ..Default::default() });
    let requests: Vec<Undecoded> = batches.iter().map(encode).collect();
    let clients = (0..calls).map(|_| Ok(Grpc::new(field.channel(who)?))).collect::<Result<Vec<_>>>()?;
    let answers = field.runtime.block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for mut client in clients {
            let (requests, until) = (requests.clone(), field.until);
            calls.spawn(async move {
                let mut codes = Vec::new();
                while std::time::Instant::now() < until {
                    for request in &requests {
                        codes.push(send_encoded(&mut client, request.clone()).await);
                    }
                }
                codes
            });
        }
        calls.join_all().await
    });
    let mut sum = Answers::default();
    answers.into_iter().flatten().for_each(|code| sum.add(code));
    ensure!(sum.all() >= 1, "too few batches were sent: {}", sum.shown());
    Ok(sum)
}

/// Sends one encoded batch in a call of its own.
async fn send_encoded(client: &mut Grpc<Client>, request: Undecoded) -> Code {
    if client.ready().await.is_err() {
        return Code::Unavailable;
    }
    let path = PathAndQuery::from_static("/lapwing.v1.IngestService/Ingest");
    let codec = ProstCodec::<Undecoded, IngestResponse>::default();
    let request = tonic::Request::new(tokio_stream::once(request));
    match client.client_streaming(request, path, codec).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

/// A client for sending.
fn sender(field: &Field, who: super::Who) -> Result<IngestServiceClient<Client>> {
    Ok(IngestServiceClient::new(field.channel(who)?))
}

/// Sends so many batches of a thousand lines as a user; returns how many lines were accepted.
fn send_lines(field: &Field, batches: u64) -> Result<u64> {
    let mut client = sender(field, super::Who::User)?;
    let text: String = (0..LINES).map(|n| format!("evil {n:0200}\n")).collect();
    let mut accepted = 0;
    for _ in 0..batches {
        let logs = LogColumns::lines(Text::from("evil"), now(), LINES as u32, text.clone().into());
        let packed = batch::pack(&Columns::Logs(logs), &mut Compressor::new(Codec::None, None))?;
        let batch = Batch { payload: Some(Payload::Packed(packed)), ..Batch::default() };
        if field.runtime.block_on(send(&mut client, batch)) == Code::Ok {
            accepted += LINES;
        }
    }
    Ok(accepted)
}
