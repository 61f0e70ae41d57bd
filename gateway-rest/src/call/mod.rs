//! The gRPC side: one frame out, frames and trailers back, and everything that becomes of them.

pub(crate) mod accept;
pub(crate) mod failure;
pub(crate) mod frames;
pub(crate) mod headers;
pub(crate) mod stream;
pub(crate) mod unary;
