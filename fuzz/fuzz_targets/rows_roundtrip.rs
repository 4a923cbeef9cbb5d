//! Whatever columns can be decoded become rows, and the rows become the same columns again; whatever rows are taken become
//! columns that can be decoded.
#![no_main]

use bytes::Bytes;
use lapwing::{
    columns::Columns,
    limits::Limits,
    v1::{Rows, Signal},
};
use libfuzzer_sys::{arbitrary, fuzz_target};
use prost::Message;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    signal: u8,
    rows: u8,
    data: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let signal = Signal::try_from(i32::from(input.signal % 3 + 1)).expect("signals are 1 to 3");
    from_columns(signal, input.rows % 0x80, input.data);
    if let Ok(rows) = Rows::decode(input.data) {
        from_rows(&rows);
    }
});

fn from_columns(signal: Signal, rows: u8, data: &[u8]) {
    // The start that every encoding has.
    let data = [&[1, signal as u8, rows], data].concat();
    let limits = Limits::default();
    let Ok(columns) = Columns::decode(Bytes::from(data), signal, u32::from(rows), &limits) else { return };
    let rows = columns.to_rows();
    let again = Columns::from_rows(&rows, 0, &limits).expect("rows of decoded columns are rows");
    assert_eq!(comparable(again.to_rows()), comparable(rows));
}

fn from_rows(rows: &Rows) {
    let limits = Limits::default();
    let Ok(columns) = Columns::from_rows(rows, 1, &limits) else { return };
    let encoded = Bytes::from(columns.encode());
    let decoded = Columns::decode(encoded, columns.signal(), columns.rows() as u32, &limits);
    let decoded = decoded.expect("columns of rows can be decoded");
    assert_eq!(comparable(decoded.to_rows()), comparable(columns.to_rows()));
}

/// A time of 0 is not kept: another one stands for it. A NaN is equal to nothing.
fn comparable(mut rows: Rows) -> Rows {
    for log in rows.logs.iter_mut().filter(|log| log.time_unix_nano == 0) {
        log.time_unix_nano = log.observed_time_unix_nano;
    }
    for flow in rows.flows.iter_mut().filter(|flow| flow.start_time_unix_nano == 0) {
        flow.start_time_unix_nano = flow.time_unix_nano;
    }
    for metric in &mut rows.metrics {
        let histogram = metric.histogram.iter_mut();
        let floats = histogram.flat_map(|h| std::iter::once(&mut h.sum).chain(&mut h.explicit_bounds));
        floats.chain([&mut metric.value]).filter(|float| float.is_nan()).for_each(|float| *float = f64::MAX);
    }
    rows
}
