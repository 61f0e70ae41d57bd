//! Reverse DNS at clouds that let us name their machines' addresses.
//!
//! An address is the cloud's and may be somebody else's tomorrow. So every call names the machine, too, and a cloud refuses it where the address is not that machine's.

mod linode;
mod vultr;

use std::net::IpAddr;

use async_trait::async_trait;

use crate::provider::compute::ProviderError;
use crate::provider::compute::vendor::Vendor;

/// What a cloud does with the names of addresses.
#[async_trait]
pub trait ReverseDns: Send + Sync {
    /// Gives an address of a machine a name, which is in small letters; the cloud's own default if `None`. Doing so twice is like doing it once. `Refused` is in the cloud's words,
    /// for the owner of the machine to read.
    async fn set(
        &self,
        machine: &str,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<(), ProviderError>;

    /// The name that an address of a machine has, be it given or the cloud's default; `None` if it has none.
    async fn get(&self, machine: &str, address: IpAddr) -> Result<Option<String>, ProviderError>;
}

/// Whether accounts at a vendor name addresses. DigitalOcean calls an address what it calls the droplet, which is our reference; hypervisors of our own have no DNS.
pub fn has(vendor: Vendor) -> bool {
    matches!(vendor, Vendor::Linode | Vendor::Vultr)
}

/// A name as clouds show it, some with a dot at the end, as we write it.
fn plain(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::compute::vendor::Access;

    #[test]
    fn what_is_promised_of_a_vendor_its_adapter_does() {
        for vendor in Vendor::ALL {
            let cloud = vendor.connect(&Access::nowhere()).unwrap();
            assert_eq!(cloud.reverse_dns().is_some(), has(vendor), "{vendor:?}");
        }
    }

    #[test]
    fn names_are_compared_without_capitals_and_dots() {
        assert_eq!(
            plain("Mail.Example.COM.").as_deref(),
            Some("mail.example.com")
        );
        assert_eq!(plain(""), None);
        assert_eq!(plain("."), None);
    }
}
