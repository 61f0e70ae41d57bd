//! Protobuf's JSON mapping, both ways, over [`crate::schema::Schema`].
//!
//! `prost-reflect` has one, but its errors carry no field path, it lets a repeated key through, needs every `Any` to be
//! known, and builds a tree of each message to print it. The contract asks for more, so the mapping is here.

pub(crate) mod number;
pub(crate) mod parse;
pub(crate) mod read;
mod read_known;
pub(crate) mod text;
mod time;
pub(crate) mod wire;
pub(crate) mod write;
pub(crate) mod write_known;
