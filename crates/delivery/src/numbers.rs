//! What a batch's number and digest must look like.

use lapwing::{
    batch,
    status::Kind,
    v1::{Batch, batch::Payload},
};

/// Checks number, digest and payload against one another.
///
/// # Errors
/// What is wrong, and what was expected.
pub fn check_numbers(batch: &Batch) -> Result<(), (Kind, &'static str)> {
    let invalid = |text| Err((Kind::InvalidArgument, text));
    let (epoch, sequence) = batch.origin.as_ref().map_or((0, 0), |origin| (origin.epoch, origin.sequence));
    if epoch == 0 {
        if sequence != 0 {
            return invalid("origin: a sequence without an epoch; set both, or neither");
        }
        if !batch.positions.is_empty() {
            return invalid("positions: only numbered batches carry positions");
        }
        return if batch.payload.is_none() { invalid("the batch has no payload") } else { Ok(()) };
    }
    if sequence == 0 {
        return invalid("origin: an epoch without a sequence; sequences begin with 1");
    }
    match &batch.payload {
        Some(Payload::Packed(packed)) if batch::digest(packed) != batch.digest => {
            let text = "digest: it is not that of the payload (XXH3-128 of packed.data, big endian)";
            Err((Kind::Corrupted, text))
        }
        Some(Payload::Rows(_)) => invalid("numbered batches carry packed columns, not rows"),
        None if !batch.digest.is_empty() => invalid("digest: the batch has no payload to vouch for"),
        _ => Ok(()),
    }
}
