//! From `google.api.http` annotations to "this request is that RPC".

mod annotation;
mod compile;
mod table;
mod template;

pub(crate) use compile::{BodyRule, FieldRef, Route, Routes, compile, dotted};
pub(crate) use table::{Lookup, RawPath};
