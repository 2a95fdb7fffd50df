//! The public protocol of yunbase and its Rust SDK. Under construction.

/// The generated protocol types.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("yunbase.v1");
}
