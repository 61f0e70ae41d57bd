//! From `google.api.http` annotations to "this request is that RPC".

mod annotation;
mod compile;
mod table;
pub(crate) mod template;

pub(crate) use annotation::{Rule, rules};
pub(crate) use compile::{BodyRule, FieldRef, Route, Routes, compile, dotted};
pub(crate) use table::{Lookup, RawPath, Verb};
