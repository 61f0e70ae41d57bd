//! Clouds that run machines.
//!
//! A cloud is slow, forgetful and sometimes silent. Three rules make it usable: our own id goes with every machine as its name or label, so that a machine can
//! be found whose creation was never answered; an error says whether the call may have had an effect; and nobody waits for a machine inside a call. Calls are
//! never made while a transaction is open.

pub mod backups;
pub mod cloud;
pub mod cluster;
pub mod consoles;
pub mod digitalocean;
pub mod firewalls;
pub mod line;
pub mod linode;
pub mod metrics;
pub mod proxmox;
pub mod reverse_dns;
pub mod simulator;
pub mod snapshots;
pub mod vendor;
pub mod vsphere;
pub mod vultr;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use secrecy::SecretString;

use self::backups::Backups;
use self::consoles::Consoles;
use self::firewalls::Firewalls;
use self::metrics::{Gives, Metrics};
use self::reverse_dns::ReverseDns;
use self::snapshots::Snapshots;
use self::vendor::Vendor;
use crate::base::id::{AccountId, InstanceId};

/// A cloud. This is a trait because it stands for things outside the platform, of which there are several at run time, and none of which a test may call.
///
/// Every verb returns as soon as the cloud has accepted it; `get` tells when it is done. A cloud that is still at work on a machine says `Busy`. What a cloud has no
/// capability for is refused before it is asked, and by itself if it is asked all the same.
#[async_trait]
pub trait Compute: Send + Sync {
    /// What this cloud can do.
    fn capabilities(&self) -> Capabilities;

    /// How long a machine that was created, but whose answer was lost, may stay invisible to `find`. Until then its absence proves nothing.
    fn lookup_delay(&self) -> TimeDelta;

    /// Orders a machine.
    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError>;

    /// The machines that carry our reference, oldest first. More than one means that something created twice.
    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError>;

    /// A machine by the cloud's own name for it; `None` if it has none of that name.
    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError>;

    /// Takes a machine that is raw one step towards what was wished for. For clouds that make machines in several steps; the others have no raw ones.
    async fn prepare(
        &self,
        _provider_ref: &str,
        _wish: &CreateMachine,
    ) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Powers a machine on. Done already if it runs.
    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError>;

    /// Cuts a machine's power. Done already if it is off.
    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError>;

    /// Asks the guest to shut down. It may never do so.
    async fn shutdown(&self, provider_ref: &str) -> Result<(), ProviderError>;

    /// Restarts a machine.
    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError>;

    /// Makes the disk anew from an image. The machine boots afterwards, and keeps its addresses. A cloud without the capability `rebuild_credentials` gives it what it was
    /// given at its first boot, whatever `boot` says.
    async fn rebuild(
        &self,
        provider_ref: &str,
        image: &str,
        boot: &Boot,
    ) -> Result<(), ProviderError>;

    /// Sets the administrator's password.
    async fn reset_password(
        &self,
        provider_ref: &str,
        password: &SecretString,
    ) -> Result<(), ProviderError>;

    /// Gives a machine another size. With `disk_grows` its disk becomes as large as that size has it, for good; else it stays. Where the cloud has `resize_off` the machine must
    /// be off. Clouds differ in whether it boots afterwards.
    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        disk_grows: bool,
    ) -> Result<(), ProviderError>;

    /// Destroys a machine and gives its addresses up.
    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError>;

    /// Snapshots of disks, where this cloud has them.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// Backups, where this cloud takes them by itself.
    fn backups(&self) -> Option<&dyn Backups> {
        None
    }

    /// Consoles, where this cloud has them: those that have the capability `console`.
    fn consoles(&self) -> Option<&dyn Consoles> {
        None
    }

    /// The names of addresses, where this cloud lets us give them.
    fn reverse_dns(&self) -> Option<&dyn ReverseDns> {
        None
    }

    /// Firewalls in front of machines, where this cloud has them.
    fn firewalls(&self) -> Option<&dyn Firewalls> {
        None
    }

    /// What machines use, where this cloud tells.
    fn metrics(&self) -> Option<&dyn Metrics> {
        None
    }
}

/// Our own name for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The customer it is for. A cloud in which the operator has several accounts may choose among them by it; the simulator keeps its faults by it.
    pub account: AccountId,
    /// The instance. Its text is the machine's name or label.
    pub instance: InstanceId,
}

/// A machine to create.
#[derive(Clone, Debug)]
pub struct CreateMachine {
    /// Our own name for it.
    pub reference: Reference,
    /// The cloud's name of the size.
    pub size: String,
    /// Code of the region.
    pub region: String,
    /// Code of the image.
    pub image: String,
    /// What it is given when it first boots.
    pub boot: Boot,
    /// Where it is to be, on hypervisors of our own. Other clouds decide that themselves.
    pub place: Option<Place>,
}

/// Where on hypervisors of our own a machine is to be, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hypervisor.
    pub node: String,
    /// The machine's number there, unique in the cluster.
    pub vmid: u32,
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the network in it.
    pub prefix: u8,
    /// The router.
    pub gateway: Ipv4Addr,
    /// The switch it hangs on.
    pub bridge: String,
    /// The VLAN there; 0 for none.
    pub vlan: u16,
    /// Where it asks for names; the hypervisor's own choice if empty.
    pub nameservers: Vec<Ipv4Addr>,
}

/// What a machine is given when it boots from a new disk.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Host name.
    pub hostname: String,
    /// The administrator's password.
    pub password: SecretString,
    /// Public keys that open it for the administrator, as OpenSSH writes them.
    pub ssh_keys: Vec<String>,
    /// What its owner wrote for cloud-init. It begins with `#cloud-config` or `#!`.
    pub user_data: Option<SecretString>,
}

/// A machine as a cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The cloud's own name for it.
    pub provider_ref: String,
    /// Our name for it, as the cloud repeats it.
    pub reference: String,
    /// The cloud's name of its size; empty while the machine is raw.
    pub size: String,
    /// Whether it runs.
    pub power: Power,
    /// True while the cloud works on it and refuses other work.
    pub busy: bool,
    /// Public IPv4 address, once it has one.
    pub ipv4: Option<Ipv4Addr>,
    /// Public IPv6 address, once it has one.
    pub ipv6: Option<Ipv6Addr>,
}

impl Machine {
    /// Whether there is a machine that is not yet what was ordered.
    pub fn is_raw(&self) -> bool {
        self.size.is_empty()
    }
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// On its way up.
    Booting,
    /// Up.
    Running,
    /// On its way down.
    Stopping,
    /// Off.
    Stopped,
}

/// What a cloud can do beyond the least. The API names these, so that pages hide a button that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Can ask a guest to shut down. Without it owners are refused a shutdown, which must never silently be a power cut.
    pub graceful_shutdown: bool,
    /// Can set a password.
    pub reset_password: bool,
    /// Sets it only on a machine that is off, so that resetting one takes a restart. Says how, not what: it has no name in the API.
    pub reset_password_off: bool,
    /// Gives a rebuilt machine a password, keys and user data anew. Without it a rebuilt machine has those of its first boot again.
    pub rebuild_credentials: bool,
    /// Takes what an owner writes for cloud-init.
    pub user_data: bool,
    /// Makes the disk of a machine anew.
    pub rebuild: bool,
    /// Gives a machine a larger size.
    pub resize: bool,
    /// Its disk grows with it. Without it a machine takes only sizes whose disk is as large as its own.
    pub resize_disk: bool,
    /// Gives it a smaller one as well, as long as the disk stays. Disks never become smaller.
    pub resize_down: bool,
    /// Does so only on a machine that is off. Says how, not what: it has no name in the API.
    pub resize_off: bool,
    /// Gives a console.
    pub console: bool,
}

impl Capabilities {
    /// Their names in the API, sorted.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            ("console", self.console),
            ("graceful_shutdown", self.graceful_shutdown),
            ("rebuild", self.rebuild),
            ("rebuild_credentials", self.rebuild_credentials),
            ("reset_password", self.reset_password),
            ("resize", self.resize),
            ("resize_disk", self.resize_disk),
            ("resize_down", self.resize_down),
            ("user_data", self.user_data),
        ];
        all.into_iter()
            .filter_map(|(name, present)| present.then_some(name))
            .collect()
    }
}

/// What a cloud answered instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The answer was lost, or made no sense: whether the call had an effect is not known. Look before acting again.
    #[error("the answer was lost")]
    Unknown,
    /// Refused for good; the same call will always be refused. No effect.
    #[error("refused: {0}")]
    Refused(String),
    /// The account is not accepted, or may not do this. No effect; it may be accepted later, when staff have seen to it.
    #[error("not authorized: {0}")]
    Unauthorized(String),
    /// No room for this machine. No effect.
    #[error("no capacity")]
    NoCapacity,
    /// There is no such machine.
    #[error("no such machine")]
    NotFound,
    /// The machine is being worked on. No effect.
    #[error("the machine is busy")]
    Busy,
    /// Too many calls. No effect.
    #[error("called too often; again after {} s", after.as_secs())]
    RateLimited {
        /// When to call again.
        after: Duration,
    },
    /// Could not be reached, or said so itself before doing anything. No effect.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// The clouds this platform is configured with, by name.
#[derive(Clone, Default)]
pub struct Providers {
    by_name: Arc<BTreeMap<String, Arc<dyn Compute>>>,
}

impl Providers {
    /// The given clouds.
    pub fn new(providers: impl IntoIterator<Item = (String, Arc<dyn Compute>)>) -> Self {
        Self {
            by_name: Arc::new(providers.into_iter().collect()),
        }
    }

    /// A cloud by its name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Compute>> {
        self.by_name.get(name)
    }

    /// What a provider can do, be it built in or one of the vendors there are adapters for.
    pub fn capabilities_of(&self, name: &str) -> Option<Capabilities> {
        self.get(name)
            .map(|p| p.capabilities())
            .or_else(|| Vendor::parse(name).map(Vendor::capabilities))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Whether a provider takes snapshots.
    pub fn has_snapshots(&self, name: &str) -> bool {
        self.get(name).map_or_else(
            || Vendor::parse(name).is_some_and(snapshots::has),
            |cloud| cloud.snapshots().is_some(),
        )
    }

    /// Whether a provider has machines backed up.
    pub fn has_backups(&self, name: &str) -> bool {
        self.get(name).map_or_else(
            || Vendor::parse(name).is_some_and(backups::has),
            |cloud| cloud.backups().is_some(),
        )
    }

    /// Whether a provider lets us name the addresses of its machines.
    pub fn has_reverse_dns(&self, name: &str) -> bool {
        self.get(name).map_or_else(
            || Vendor::parse(name).is_some_and(reverse_dns::has),
            |cloud| cloud.reverse_dns().is_some(),
        )
    }

    /// Whether a provider puts firewalls in front of its machines.
    pub fn has_firewalls(&self, name: &str) -> bool {
        self.get(name).map_or_else(
            || Vendor::parse(name).is_some_and(firewalls::has),
            |cloud| cloud.firewalls().is_some(),
        )
    }

    /// What a provider tells of what its machines use; `None` if nothing.
    pub fn metrics_of(&self, name: &str) -> Option<Gives> {
        self.get(name).map_or_else(
            || Vendor::parse(name).and_then(metrics::of),
            |cloud| cloud.metrics().map(|metrics| metrics.gives()),
        )
    }

    /// What a cloud can do, by the API's names, sorted; nothing if it is not configured any more.
    pub fn capabilities(&self, name: &str) -> Vec<String> {
        let Some(capabilities) = self.capabilities_of(name) else {
            return Vec::new();
        };
        let mut names = capabilities.names();
        names.extend(self.has_snapshots(name).then_some("snapshots"));
        names.extend(self.has_backups(name).then_some("backups"));
        names.extend(self.has_reverse_dns(name).then_some("reverse_dns"));
        names.extend(self.has_firewalls(name).then_some("firewall"));
        let gives = self.metrics_of(name);
        names.extend(gives.filter(|g| !g.kinds.is_empty()).map(|_| "metrics"));
        names.extend(gives.filter(|g| g.traffic).map(|_| "traffic"));
        names.sort_unstable();
        names.into_iter().map(str::to_owned).collect()
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_as_the_api_names_them() {
        let some = Capabilities {
            graceful_shutdown: true,
            reset_password: true,
            reset_password_off: true,
            rebuild_credentials: false,
            user_data: false,
            rebuild: false,
            resize: true,
            resize_disk: false,
            resize_down: false,
            resize_off: true,
            console: false,
        };
        assert_eq!(
            some.names(),
            ["graceful_shutdown", "reset_password", "resize"]
        );
    }
}
