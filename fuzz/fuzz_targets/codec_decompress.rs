//! No bytes make a decoder panic or give more than was declared, and each codec gives back what it took.
#![no_main]

use bytes::Bytes;
use lapwing::{
    codec::{Compressor, decompress},
    v1::Codec,
};
use libfuzzer_sys::{arbitrary, fuzz_target};

const LIMIT: usize = 1 << 20;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    codec: u8,
    declared: u32,
    data: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let codec = Codec::try_from(i32::from(input.codec % 6)).expect("codecs are 0 to 5");
    let declared = input.declared as usize % (LIMIT + 2);
    let unpacked = decompress(codec, &Bytes::copy_from_slice(input.data), declared, LIMIT);
    if let Ok(unpacked) = unpacked {
        assert_eq!(unpacked.len(), declared);
    }
    if codec != Codec::Unspecified {
        let (head, tail) = input.data.split_at(input.data.len() / 2);
        let packed = Compressor::new(codec, None).compress(&[head, tail]).expect("any bytes can be packed");
        let unpacked =
            decompress(codec, &packed, input.data.len(), LIMIT).expect("what was packed can be unpacked");
        assert_eq!(unpacked, input.data);
    }
});
