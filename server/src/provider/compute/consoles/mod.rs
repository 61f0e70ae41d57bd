//! Consoles at clouds that have them.
//!
//! A cloud either shows a page of its own, whose address is the key to it, or lets somebody with its token look at the screen. The first is handed on as it is. For the second
//! the bytes of the screen pass through us, and whoever looks at it never has anything of the cloud's: no token, no address and no password.

mod proxmox;
pub mod rfb;
pub mod socket;
mod vultr;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::io::DuplexStream;

use crate::provider::compute::ProviderError;

/// Bytes that wait between us and a screen at most, in each direction.
pub const BUFFER: usize = 64 << 10;

/// What a cloud does with consoles.
#[async_trait]
pub trait Consoles: Send + Sync {
    /// How the console of a machine is reached now.
    async fn way(&self, machine: &str) -> Result<Way, ProviderError>;

    /// Connects to the screen of a machine, where the way leads through us.
    async fn connect(&self, machine: &str) -> Result<Screen, ProviderError>;
}

/// How a console is reached. Its debug output shows no address.
#[derive(Clone, Debug)]
pub enum Way {
    /// Through us.
    Through,
    /// By a page of the cloud at this address, which lets in whoever has it.
    Page(SecretString),
}

/// A connection to a screen, which speaks RFB 3.8 from its first byte on.
#[derive(Debug)]
pub struct Screen {
    /// What it says and is told.
    pub bytes: DuplexStream,
    /// The password it asks for, if it asks for one.
    pub password: Option<SecretString>,
}

/// What a cloud says that shows consoles only by pages of its own.
fn only_pages() -> ProviderError {
    ProviderError::Refused("its consoles are pages of its own".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::provider::compute::vendor::{Access, Vendor};

    #[test]
    fn what_is_promised_of_a_vendor_its_adapter_does() {
        for vendor in Vendor::ALL {
            let cloud = vendor.connect(&Access::nowhere()).unwrap();
            let promised = vendor.capabilities().console;
            assert_eq!(cloud.consoles().is_some(), promised, "{vendor:?}");
        }
    }
}
