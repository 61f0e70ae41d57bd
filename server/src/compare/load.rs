//! Reading a descriptor set, with or without the third-party files it imports.

use std::collections::HashSet;

use anyhow::Context;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;

/// A `google.protobuf.FileDescriptorSet` whose files are left as they are: decoding them into `prost_types` would drop our options.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// Decodes a descriptor set. Imports that it lacks are taken from the contract this program was built with, so that a set of our own files alone will do.
///
/// # Errors
/// If the bytes are no descriptor set, or it imports what is in neither.
pub fn load(bytes: &[u8]) -> anyhow::Result<DescriptorPool> {
    let name = |file: &Vec<u8>| {
        FileDescriptorProto::decode(file.as_slice()).map(|file| file.name().to_owned())
    };
    let mut set = Set::decode(bytes).context("not a descriptor set")?;
    let mut known = HashSet::new();
    for file in &set.file {
        known.insert(name(file).context("not a descriptor set")?);
    }
    anyhow::ensure!(!set.file.is_empty(), "the descriptor set is empty");
    for file in Set::decode(sewa_sdk::DESCRIPTORS)?.file {
        let name = name(&file)?;
        if !name.starts_with("sewa/") && known.insert(name) {
            set.file.push(file);
        }
    }
    DescriptorPool::decode(set.encode_to_vec().as_slice())
        .context("the descriptor set is not complete")
}
