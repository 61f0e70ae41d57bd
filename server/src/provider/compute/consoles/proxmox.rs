//! Consoles on Proxmox VE: a task of the node listens for one viewer, for some ten seconds, and is reached by a WebSocket with its ticket and our token. So it is asked for when the
//! viewer is there, and not before. The screen's password is ours to give: newer versions say it, with older ones the ticket is it.

use async_trait::async_trait;
use http::Method;
use secrecy::SecretString;

use crate::provider::compute::cloud::escaped;
use crate::provider::compute::cloud::text;
use crate::provider::compute::consoles::socket::{self, Farewell};
use crate::provider::compute::consoles::{BUFFER, Consoles, Screen, Way};
use crate::provider::compute::proxmox::Proxmox;
use crate::provider::compute::proxmox::asking::{number, path_of, unreadable};
use crate::provider::compute::proxmox::guest::Seen;
use crate::provider::compute::{Power, ProviderError};

impl Proxmox {
    /// A guest that is ours and runs, whatever is being done to it.
    async fn lit(&self, machine: &str) -> Result<Seen, ProviderError> {
        let vmid = number(machine)?;
        let seen = self.see(vmid).await?.ok_or(ProviderError::NotFound)?;
        if !seen.is_ours() {
            return Err(ProviderError::Refused(format!(
                "guest {vmid} does not carry our reference"
            )));
        }
        if seen.machine.power != Power::Running {
            return Err(ProviderError::Unavailable(format!(
                "guest {vmid} does not run"
            )));
        }
        Ok(seen)
    }
}

#[async_trait]
impl Consoles for Proxmox {
    async fn way(&self, machine: &str) -> Result<Way, ProviderError> {
        self.lit(machine).await.map(|_| Way::Through)
    }

    async fn connect(&self, machine: &str) -> Result<Screen, ProviderError> {
        let seen = self.lit(machine).await?;
        let (at, fields) = (path_of(&seen), [("websocket", "1".to_owned())]);
        let path = format!("{at}/vncproxy");
        let proxy = self.change(Method::POST, path, &fields).await?;
        let ticket = text(&proxy, "/ticket").ok_or_else(|| unreadable("a ticket"))?;
        // A number or a text, as versions differ.
        let port = proxy.get("port").and_then(|port| {
            let port = port.as_u64().or_else(|| port.as_str()?.parse().ok())?;
            u16::try_from(port).ok()
        });
        let port = port.ok_or_else(|| unreadable("a port"))?;
        let password = text(&proxy, "/password").filter(|password| !password.is_empty());
        let password = SecretString::from(password.unwrap_or(ticket));
        let path = format!(
            "{at}/vncwebsocket?port={port}&vncticket={}",
            escaped(ticket)
        );
        let upgraded = self.line().upgrade(&path, socket::PROTOCOL).await?;
        let (bytes, near) = tokio::io::duplex(BUFFER);
        let socket = socket::of_screen(upgraded).await;
        tokio::spawn(socket::carry(socket, near, None, Farewell::none()));
        Ok(Screen {
            bytes,
            password: Some(password),
        })
    }
}
