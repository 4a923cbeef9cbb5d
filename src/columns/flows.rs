//! Flows as columns.

use super::{Attributes, Column, DecodeError, Text, column::Coded, reader::RawColumn};
use crate::limits::Limits;

const START_TIME: u8 = 1;
const TIME: u8 = 2;
const SOURCE_ADDRESS: u8 = 3;
const SOURCE_PORT: u8 = 4;
const DESTINATION_ADDRESS: u8 = 5;
const DESTINATION_PORT: u8 = 6;
const TRANSPORT: u8 = 7;
const BYTES: u8 = 8;
const PACKETS: u8 = 9;
pub(super) const ATTRIBUTES: u8 = 10;
/// The last column id.
pub(super) const LAST: u8 = ATTRIBUTES;

/// Flows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlowColumns {
    /// First packet, nanoseconds since the Unix epoch.
    pub start_time: Column<u64>,
    /// Last packet, nanoseconds since the Unix epoch.
    pub time: Column<u64>,
    /// Source address as text.
    pub source_address: Column<Text>,
    /// Source port, 0 to 65,535.
    pub source_port: Column<u64>,
    /// Destination address as text.
    pub destination_address: Column<Text>,
    /// Destination port, 0 to 65,535.
    pub destination_port: Column<u64>,
    /// `tcp`, `udp`, ...
    pub transport: Column<Text>,
    /// Bytes from source to destination.
    pub bytes: Column<u64>,
    /// Packets from source to destination.
    pub packets: Column<u64>,
    /// Attributes of the flow alone.
    pub attributes: Column<Attributes>,
}

impl FlowColumns {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.start_time.encode(START_TIME, out);
        self.time.encode(TIME, out);
        self.source_address.encode(SOURCE_ADDRESS, out);
        self.source_port.encode(SOURCE_PORT, out);
        self.destination_address.encode(DESTINATION_ADDRESS, out);
        self.destination_port.encode(DESTINATION_PORT, out);
        self.transport.encode(TRANSPORT, out);
        self.bytes.encode(BYTES, out);
        self.packets.encode(PACKETS, out);
        self.attributes.encode(ATTRIBUTES, out);
    }

    pub(super) fn decode(columns: &[RawColumn], rows: usize, limits: &Limits) -> Result<Self, DecodeError> {
        let flows = Self {
            start_time: Column::decode(START_TIME, columns, rows, limits)?,
            time: Column::decode(TIME, columns, rows, limits)?,
            source_address: Column::decode(SOURCE_ADDRESS, columns, rows, limits)?,
            source_port: Column::decode(SOURCE_PORT, columns, rows, limits)?,
            destination_address: Column::decode(DESTINATION_ADDRESS, columns, rows, limits)?,
            destination_port: Column::decode(DESTINATION_PORT, columns, rows, limits)?,
            transport: Column::decode(TRANSPORT, columns, rows, limits)?,
            bytes: Column::decode(BYTES, columns, rows, limits)?,
            packets: Column::decode(PACKETS, columns, rows, limits)?,
            attributes: Column::decode(ATTRIBUTES, columns, rows, limits)?,
        };
        for (_, port) in flows.source_port.runs().chain(flows.destination_port.runs()) {
            DecodeError::check("a port", usize::try_from(*port).unwrap_or(usize::MAX), 65_535)?;
        }
        Ok(flows)
    }
}
