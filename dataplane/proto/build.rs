//! Generates the gRPC code from `proto/shard.proto`. Uses a compiler in Rust, so no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/shard.proto");
    let descriptors = protox::compile(["proto/shard.proto"], ["proto"])?;
    // `Bytes` fields share the received buffer: an op is not copied between the socket and the log.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
