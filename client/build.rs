//! Compiles the public protocol without needing `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        [
            "proto/yunbase/v1/data.proto",
            "proto/yunbase/v1/cluster.proto",
            "proto/yunbase/v1/auth.proto",
            "proto/yunbase/v1/operators.proto",
            "proto/yunbase/v1/audit.proto",
            "proto/yunbase/v1/storage.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
