//! Consoles at Vultr: an instance names a page with noVNC, which works without signing in. The address changes from time to time, so it is asked for each time, and kept nowhere.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::consoles::{Consoles, Screen, Way, only_pages};
use crate::provider::compute::line::Ask;
use crate::provider::compute::vultr::{Vultr, path};

#[async_trait]
impl Consoles for Vultr {
    async fn way(&self, machine: &str) -> Result<Way, ProviderError> {
        let shown = self.ask(&Ask::get(path(machine)?)).await?;
        match text(&shown, "/instance/kvm") {
            Some(address) if address.starts_with("https://") => {
                Ok(Way::Page(SecretString::from(address)))
            }
            // A machine has none until it is ready.
            _ => Err(ProviderError::Unavailable(
                "the instance names no console".to_owned(),
            )),
        }
    }

    async fn connect(&self, _machine: &str) -> Result<Screen, ProviderError> {
        Err(only_pages())
    }
}
