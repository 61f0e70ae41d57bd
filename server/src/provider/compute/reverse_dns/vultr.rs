//! Reverse DNS at Vultr. Its two kinds of addresses have calls of their own: an IPv4 address always has a name, which is put back to the default; an IPv6 address has one or none, and is
//! written in full.

use std::net::{IpAddr, Ipv6Addr};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{ReverseDns, plain};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{list, refusal, text};
use crate::provider::compute::line::Ask;
use crate::provider::compute::vultr::{Vultr, path};

/// All eight groups with all their digits, which is the only form it takes.
fn in_full(address: Ipv6Addr) -> String {
    let groups = address.segments().map(|group| format!("{group:04x}"));
    groups.join(":")
}

/// The entry of an address in a list of them, however it is written there.
fn entry(listed: &[Value], address: IpAddr) -> Option<&Value> {
    let is_it = |one: &&Value| text(one, "/ip").and_then(|ip| ip.parse().ok()) == Some(address);
    listed.iter().find(is_it)
}

#[async_trait]
impl ReverseDns for Vultr {
    async fn set(
        &self,
        machine: &str,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<(), ProviderError> {
        let path = path(machine)?;
        let ask = match (address, name) {
            (IpAddr::V4(ip), Some(name)) => Ask::post(
                format!("{path}/ipv4/reverse"),
                json!({"ip": ip, "reverse": name}),
            ),
            (IpAddr::V4(ip), None) => {
                Ask::post(format!("{path}/ipv4/reverse/default"), json!({"ip": ip}))
            }
            (IpAddr::V6(ip), Some(name)) => Ask::post(
                format!("{path}/ipv6/reverse"),
                json!({"ip": in_full(ip), "reverse": name}),
            ),
            (IpAddr::V6(ip), None) => Ask::delete(format!("{path}/ipv6/reverse/{}", in_full(ip))),
        };
        let reply = self.line.ask(&ask).await?;
        // An IPv6 address that has no name has the default.
        let had_none = ask.method == http::Method::DELETE && reply.status.as_u16() == 404;
        if reply.status.is_success() || had_none {
            return Ok(());
        }
        let message = text(&reply.body, "/error");
        // The words of a refusal may have the name in them, which may hold any word.
        if message.is_some_and(|said| said.starts_with("Server is currently locked")) {
            return Err(ProviderError::Busy);
        }
        Err(refusal(&reply, message))
    }

    async fn get(&self, machine: &str, address: IpAddr) -> Result<Option<String>, ProviderError> {
        let path = path(machine)?;
        let (path, at) = match address {
            IpAddr::V4(_) => (format!("{path}/ipv4?per_page=500"), "/ipv4s"),
            IpAddr::V6(_) => (format!("{path}/ipv6/reverse"), "/reverse_ipv6s"),
        };
        let shown = self.ask(&Ask::get(path)).await?;
        let found = entry(list(&shown, at)?, address);
        Ok(found.and_then(|e| text(e, "/reverse")).and_then(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_in_full_and_read_in_any_form() {
        let address: Ipv6Addr = "2001:db8::1f".parse().unwrap();
        let full = "2001:0db8:0000:0000:0000:0000:0000:001f";
        assert_eq!(in_full(address), full);
        let listed = [
            json!({"ip": "2001:db8::1", "reverse": "a.example.com"}),
            json!({"ip": full, "reverse": "b.example.com"}),
        ];
        let found = entry(&listed, IpAddr::V6(address)).unwrap();
        assert_eq!(text(found, "/reverse"), Some("b.example.com"));
        assert_eq!(entry(&listed, "203.0.113.7".parse().unwrap()), None);
    }
}
