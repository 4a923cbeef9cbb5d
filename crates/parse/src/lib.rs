//! When a log line happened and how bad it is: times and levels, recognised without configuration.

#![allow(dead_code, unused_imports, reason = "nothing recognises a line yet")]

mod bytes;
mod civil;
mod level;
mod stamp;
