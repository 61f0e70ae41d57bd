//! The clouds there are adapters for. An account at one of them is connected by staff; a plan names the vendor, and an account that serves it is chosen for each
//! machine.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;

use crate::provider::compute::Capabilities;
use crate::provider::compute::cloud::Cloud;
use crate::provider::compute::digitalocean::{self, DigitalOcean};
use crate::provider::compute::line::trust::Trust;
use crate::provider::compute::linode::{self, Linode};
use crate::provider::compute::proxmox::{self, Proxmox};
use crate::provider::compute::vsphere::{self, Vsphere};
use crate::provider::compute::vultr::{self, Vultr};

/// Calls at once from each replica, if staff set no other number.
pub const CALLS: usize = 8;

/// A cloud there is an adapter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// DigitalOcean.
    DigitalOcean,
    /// Linode.
    Linode,
    /// Proxmox VE, on hypervisors of our own.
    Proxmox,
    /// VMware vSphere, on hypervisors of our own behind a vCenter.
    Vsphere,
    /// Vultr.
    Vultr,
}

/// What a line to an account needs.
#[derive(Clone, Debug)]
pub struct Access {
    /// The API's address with its path; the vendor's own if empty.
    pub base_url: String,
    /// The API token.
    pub token: SecretString,
    /// Calls at once; [`CALLS`] if 0.
    pub calls: usize,
    /// Whose certificate is taken.
    pub trust: Trust,
}

impl Vendor {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DigitalOcean,
        Self::Linode,
        Self::Proxmox,
        Self::Vsphere,
        Self::Vultr,
    ];

    /// Its name in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::DigitalOcean => "digitalocean",
            Self::Linode => "linode",
            Self::Proxmox => "proxmox",
            Self::Vsphere => "vsphere",
            Self::Vultr => "vultr",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.name() == name)
    }

    /// Whether it stands on hypervisors of our own. There we decide where a machine is and which address it has, and its API is where staff say.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Proxmox | Self::Vsphere)
    }

    /// Whether network adapters of its machines carry a VLAN of their own. On vSphere the port group has it.
    pub fn tags_vlans(self) -> bool {
        self == Self::Proxmox
    }

    /// Whether a token has the form it wants. vCenter signs users in, whose names have no colon.
    pub fn takes(self, token: &str) -> bool {
        self != Self::Vsphere
            || token
                .split_once(':')
                .is_some_and(|(user, _)| !user.is_empty())
    }

    /// What it can do, on every account.
    pub fn capabilities(self) -> Capabilities {
        match self {
            Self::DigitalOcean => digitalocean::CAPABILITIES,
            Self::Linode => linode::CAPABILITIES,
            Self::Proxmox => proxmox::CAPABILITIES,
            Self::Vsphere => vsphere::CAPABILITIES,
            Self::Vultr => vultr::CAPABILITIES,
        }
    }

    /// A line to an account.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn connect(self, access: &Access) -> anyhow::Result<Arc<dyn Cloud>> {
        Ok(match self {
            Self::DigitalOcean => Arc::new(DigitalOcean::new(access)?),
            Self::Linode => Arc::new(Linode::new(access)?),
            Self::Proxmox => Arc::new(Proxmox::new(access)?),
            Self::Vsphere => Arc::new(Vsphere::new(access)?),
            Self::Vultr => Arc::new(Vultr::new(access)?),
        })
    }
}

impl Access {
    /// To an account that is nowhere.
    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self {
            base_url: "http://127.0.0.1:1".to_owned(),
            token: "token".into(),
            calls: 1,
            trust: Trust::default(),
        }
    }

    /// The API's address.
    pub fn base<'a>(&'a self, own: &'a str) -> &'a str {
        if self.base_url.is_empty() {
            own
        } else {
            &self.base_url
        }
    }

    /// Calls at once.
    pub fn places(&self) -> usize {
        if self.calls == 0 { CALLS } else { self.calls }
    }
}

/// Whether tokens may be sent to an address: over HTTPS, or to this machine, where nobody listens in between.
pub fn is_safe_base(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    let Some(host) = url.host().filter(|_| url.query().is_none()) else {
        return false;
    };
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || plain
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let has_credentials = url.authority().is_some_and(|a| a.as_str().contains('@'));
    !has_credentials
        && match url.scheme_str() {
            Some("https") => true,
            Some("http") => here,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_https_or_stay_on_this_machine() {
        for safe in [
            "https://api.digitalocean.com",
            "https://cloud.example/v2",
            "http://127.0.0.1:4010/v2",
            "http://[::1]:4010",
            "http://localhost:1",
        ] {
            assert!(is_safe_base(safe), "{safe}");
        }
        for unsafe_base in [
            "",
            "nonsense",
            "/v2",
            "http://api.example.com",
            "ftp://127.0.0.1",
            "https://user@api.example.com",
            "https://api.example.com/?q=1",
            "http://127.0.0.1.example.com",
        ] {
            assert!(!is_safe_base(unsafe_base), "{unsafe_base}");
        }
    }

    #[test]
    fn vendors_read_back() {
        for vendor in Vendor::ALL {
            assert_eq!(Vendor::parse(vendor.name()), Some(vendor));
        }
        assert_eq!(Vendor::parse("simulator"), None);
    }
}
