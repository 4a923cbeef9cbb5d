//! The door for telemetry: who is it, is it within the limits, was it here before, can it be read. Then the journal, and only
//! then the acknowledgement.

mod door;
mod intake;
mod positions;
mod reading;
mod room;
mod service;

pub use self::{
    door::{Door, DoorOptions, about},
    intake::Intake,
    reading::nanos,
    room::MessageRoom,
    service::IngestService,
};
