//! No payload makes the decoder panic, and what it takes has as many rows as were declared and encodes to the same columns.
#![no_main]

use bytes::Bytes;
use lapwing::{
    batch,
    columns::Columns,
    limits::Limits,
    v1::{Codec, Packed, Signal},
};
use libfuzzer_sys::{arbitrary, fuzz_target};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    codec: u8,
    signal: u8,
    rows: u16,
    uncompressed_size: u16,
    data: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let packed = Packed {
        codec: i32::from(input.codec),
        signal: i32::from(input.signal),
        rows: u32::from(input.rows),
        uncompressed_size: u32::from(input.uncompressed_size),
        data: Bytes::copy_from_slice(input.data),
    };
    let _ = batch::unpack(&packed, &Limits::default());

    // Uncompressed, and with a start that is right, the fuzzer comes deeper.
    let signal = Signal::try_from(i32::from(input.signal % 4)).expect("signals are 0 to 3");
    let plain = Packed {
        codec: Codec::None as i32,
        signal: signal as i32,
        uncompressed_size: input.data.len() as u32,
        ..packed
    };
    if let Ok(columns) = batch::unpack(&plain, &Limits::default()) {
        assert_eq!(columns.rows(), plain.rows as usize);
        let again = Columns::decode(columns.encode().into(), signal, plain.rows, &Limits::default());
        assert_eq!(again.expect("what was decoded can be encoded").encode(), columns.encode());
    }
});
