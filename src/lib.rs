//! The protocol that agents, collectors and clients share.
//!
//! A batch travels as [`columns`] compressed by a [`codec`], or as plain messages ([`v1::Rows`]); both are forms of the same
//! thing and turn into each other without loss. [`status`] is the closed set of reasons for a refusal.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod batch;
pub mod codec;
pub mod columns;
pub mod limits;
pub mod status;
pub mod undecoded;

/// The messages and services of `proto/lapwing/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from documented .proto files")]
pub mod v1 {
    tonic::include_proto!("lapwing.v1");

    /// The compiled `.proto` files as an encoded `FileDescriptorSet`, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("lapwing.v1.descriptors");
}
