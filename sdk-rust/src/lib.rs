//! Client of the Sewa platform, and the only home of its generated Rust code.

pub mod money;

/// Generated from `proto/`: `sewa::<service>::v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
#[rustfmt::skip]
#[path = "generated/mod.rs"]
pub mod sewa;

use std::sync::OnceLock;

use prost_reflect::DescriptorPool;

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, with comments and option extensions.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptor.binpb");

/// The contract's descriptors, decoded once.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).expect("the committed descriptor set decodes; a test reads it"))
}
