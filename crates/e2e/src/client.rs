//! A client of the collector beside the agent, with the user's certificate.

use std::ops::Range;

use anyhow::{Context, Result};
use lapwing::{
    batch,
    codec::Compressor,
    limits::Limits,
    v1::{Batch, Codec, LogRecord, Rows, batch::Payload, log_record::Content},
};
use lapwing_service::{
    client::{Address, Credentials, Link},
    clock::now,
};

use crate::{Rig, line};

/// A user's link to the rig's collector; it connects when it is first used.
pub fn connect(rig: &Rig) -> Result<Link> {
    connect_as(rig, "user-me")
}

/// A link with another certificate of the rig.
pub fn connect_as(rig: &Rig, name: &str) -> Result<Link> {
    let (host, port) = rig.grpc.rsplit_once(':').context("no port")?;
    let address = Address { host: host.to_owned(), port: port.parse()?, tls: true };
    let cert = |name: &str| rig.root().join("certs").join(name);
    let identity = (cert(&format!("{name}.pem")), cert(&format!("{name}.key")));
    Ok(Link::new(address, Credentials::default().with_tls(cert("ca.pem"), Some(identity))?)?)
}

/// Lines as they are typed by hand, in a batch that is stored once however often it comes.
pub fn typed(file: u32, lines: Range<u64>) -> Batch {
    let record = |n| LogRecord { content: Some(Content::Body(line::line(file, n))), ..LogRecord::default() };
    Batch {
        idempotency_key: format!("{file}-{}", lines.start),
        payload: Some(Payload::Rows(Rows { logs: lines.map(record).collect(), ..Rows::default() })),
        ..Batch::default()
    }
}

/// As [`typed`], in columns, as agents send them, but in the size that they have before compression: 175 bytes a line.
pub fn packed(file: u32, lines: Range<u64>) -> Result<Batch> {
    let mut batch = typed(file, lines);
    let columns = batch::columns_of(&batch, now(), &Limits::default())?.context("no lines")?;
    let packed = batch::pack(&columns, &mut Compressor::new(Codec::None, None))?;
    batch.payload = Some(Payload::Packed(packed));
    Ok(batch)
}
