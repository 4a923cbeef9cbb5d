//! Compiles the protocol with protox, so that no protoc is needed, and keeps the descriptors for gRPC reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;

const FILES: [&str; 3] =
    ["proto/lapwing/v1/events.proto", "proto/lapwing/v1/ingest.proto", "proto/lapwing/v1/query.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("lapwing.v1.descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors.clone())?;

    // Once more the server that batches come to, which takes them undecoded, and has positions encoded: `src/undecoded.rs`.
    let folder = out.join("undecoded");
    fs::create_dir_all(&folder)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".lapwing.v1", "crate::v1")
        .extern_path(".lapwing.v1.IngestRequest", "crate::undecoded::Undecoded")
        .extern_path(".lapwing.v1.ResumeResponse", "crate::undecoded::Undecoded")
        .out_dir(folder)
        .compile_fds(only_ingest(descriptors))?;
    Ok(())
}

fn only_ingest(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut descriptors.file {
        file.service.retain(|service| service.name() == "IngestService");
    }
    descriptors
}
