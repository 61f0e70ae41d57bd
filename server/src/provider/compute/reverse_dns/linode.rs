//! Reverse DNS at Linode. It takes a name only if the name's forward record points to the address already, and looks that up during the call. The address is asked for under its
//! instance, which needs no more of a token than machines do, and never reaches an address that has moved on.

use std::net::IpAddr;

use async_trait::async_trait;
use http::Method;
use serde_json::json;

use super::{ReverseDns, plain};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{refusal, text};
use crate::provider::compute::line::Ask;
use crate::provider::compute::linode::{Linode, path};

#[async_trait]
impl ReverseDns for Linode {
    async fn set(
        &self,
        machine: &str,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<(), ProviderError> {
        let path = format!("{}/ips/{address}", path(machine)?);
        let ask = Ask {
            method: Method::PUT,
            ..Ask::post(path, json!({"rdns": name}))
        };
        let reply = self.line.ask(&ask).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        let message = text(&reply.body, "/errors/0/reason");
        // The words of a refusal have the name in them, which may hold any word.
        if message.is_some_and(|said| said.starts_with("Linode busy")) {
            return Err(ProviderError::Busy);
        }
        Err(refusal(&reply, message))
    }

    async fn get(&self, machine: &str, address: IpAddr) -> Result<Option<String>, ProviderError> {
        let path = format!("{}/ips/{address}", path(machine)?);
        let shown = self.ask(&Ask::get(path)).await?;
        Ok(text(&shown, "/rdns").and_then(plain))
    }
}
