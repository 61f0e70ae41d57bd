//! The rules of instances: what they are, how they move, and what may be asked of them. Pure.

pub mod backup;
pub mod console;
pub mod firewall;
pub mod meter;
pub mod reverse_dns;
pub mod snapshot;
pub mod span;
pub mod ssh_key;
pub mod state;
pub mod view;

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::api::v1::operation::Kind;

use crate::base::id::{
    AccountId, ImageId, InstanceId, OperationId, OrderId, PlanId, ProviderAccountId, RegionId,
};
use crate::base::money::Rupiah;
use crate::provider::compute::{Machine, Reference};

pub use self::snapshot::Snapshot;
pub use self::ssh_key::SshKey;
pub use self::state::{Event, InvalidTransition, State, Wanted};
pub use self::view::{Bill, Labels, View};

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: InstanceId,
    /// The order that made it.
    pub order: OrderId,
    /// What it is seen to be.
    pub state: State,
    /// What it should be.
    pub wanted: Wanted,
    /// True from the decision to suspend it until the one to resume it.
    pub suspended: bool,
    /// Who runs it.
    pub provider: String,
    /// The provider's name of the size.
    pub provider_size: String,
    /// The account at the provider that has the machine, or is to have it; `None` with the built-in cloud, and until one is chosen.
    pub provider_account: Option<ProviderAccountId>,
    /// The provider's name of the machine, once known.
    pub provider_ref: Option<String>,
    /// Until when a machine may exist that we asked for and do not know of.
    pub unsure_until: Option<DateTime<Utc>>,
    /// The plan.
    pub plan: PlanId,
    /// The region.
    pub region: RegionId,
    /// The provider's name of the region.
    pub region_code: String,
    /// The image it was last built from.
    pub image: ImageId,
    /// The provider's name of the image.
    pub image_code: String,
    /// Virtual processors.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
    /// Host name.
    pub hostname: String,
    /// Name for people.
    pub display_name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Public IPv4 address.
    pub ipv4: Option<String>,
    /// Public IPv6 address.
    pub ipv6: Option<String>,
    /// Price of one period without tax.
    pub price: Rupiah,
    /// The span one price pays for.
    pub period: BillingPeriod,
    /// When the patrol looks at it, if nobody works on it until then.
    pub look_at: Option<DateTime<Utc>>,
    /// Until when its first password can be shown; `None` once it was, or there is none.
    pub first_password_until: Option<DateTime<Utc>>,
    /// Grows with each change.
    pub revision: i64,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Why something asked of an instance is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another operation is under way.
    #[error("operation {0} is under way")]
    Busy(OperationId),
    /// It is suspended.
    #[error("suspended")]
    Suspended,
    /// Its state does not allow it.
    #[error("not while {0:?}")]
    IllegalState(State),
    /// Somebody else changed it.
    #[error("changed meanwhile")]
    EtagMismatch {
        /// What the caller last saw.
        sent: String,
        /// What it is.
        current: String,
    },
}

/// How soon the patrol looks at a machine that has just been seen to run.
const FIRST_LOOK: Duration = Duration::seconds(5);
/// How soon it looks at one that has just been seen to be off: when whoever worked on it last and was overtaken has surely given up.
const SECOND_LOOK: Duration = Duration::seconds(60);

impl Instance {
    /// Takes an event.
    ///
    /// # Errors
    /// If the state does not take it; nothing changes then.
    pub fn take(&mut self, event: Event, now: DateTime<Utc>) -> Result<(), InvalidTransition> {
        self.state = self.state.on(event)?;
        self.look_at = match self.state {
            State::Running => Some(now + FIRST_LOOK),
            State::Stopped | State::Suspended => Some(now + SECOND_LOOK),
            State::Provisioning
            | State::Deleting
            | State::Deleted
            | State::Failed
            | State::Lost => None,
        };
        if matches!(self.state, State::Deleting | State::Failed) {
            self.wanted = Wanted::Deleted;
        }
        self.touch(now);
        Ok(())
    }

    /// Notes that it changed.
    pub fn touch(&mut self, now: DateTime<Utc>) {
        self.revision += 1;
        self.updated_at = now;
    }

    /// Our name for its machine.
    pub fn reference(&self) -> Reference {
        Reference {
            account: self.account,
            instance: self.id,
        }
    }

    /// Notes the addresses of its machine. True if they are news. A machine that shows none keeps those it had.
    pub fn see(&mut self, machine: &Machine) -> bool {
        let (ipv4, ipv6) = (
            machine.ipv4.map(|a| a.to_string()),
            machine.ipv6.map(|a| a.to_string()),
        );
        let before = (self.ipv4.clone(), self.ipv6.clone());
        self.ipv4 = ipv4.or_else(|| self.ipv4.take());
        self.ipv6 = ipv6.or_else(|| self.ipv6.take());
        before != (self.ipv4.clone(), self.ipv6.clone())
    }

    /// Its public addresses, as far as they are known, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let texts = [self.ipv4.as_deref(), self.ipv6.as_deref()];
        texts.into_iter().flatten().filter_map(|a| a.parse().ok())
    }

    /// Changes with every change.
    pub fn etag(&self) -> String {
        format!("r{}", self.revision)
    }

    /// Whether the caller saw the instance as it is; an empty etag is whatever it is.
    ///
    /// # Errors
    /// If somebody changed it meanwhile.
    pub fn matches(&self, etag: &str) -> Result<(), Refused> {
        let current = self.etag();
        if etag.is_empty() || etag == current {
            Ok(())
        } else {
            Err(Refused::EtagMismatch {
                sent: etag.to_owned(),
                current,
            })
        }
    }

    /// Whether its owner may ask for this now. Of an instance that something happens to, only what has no way back speaks louder than that.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, kind: Kind, open: Option<OperationId>) -> Result<(), Refused> {
        if self.suspended
            && kind != Kind::Delete
            && !matches!(self.state, State::Deleting | State::Deleted | State::Lost)
        {
            return Err(Refused::Suspended);
        }
        if matches!(
            self.state,
            State::Provisioning | State::Deleting | State::Deleted | State::Failed
        ) {
            return Err(Refused::IllegalState(self.state));
        }
        if let Some(open) = open {
            return Err(Refused::Busy(open));
        }
        let legal = match kind {
            Kind::PowerOn => matches!(self.state, State::Stopped),
            Kind::PowerOff | Kind::Shutdown | Kind::Reboot | Kind::ResetPassword => {
                matches!(self.state, State::Running)
            }
            Kind::Rebuild
            | Kind::Resize
            | Kind::CreateSnapshot
            | Kind::RestoreSnapshot
            | Kind::DeleteSnapshot
            | Kind::RestoreBackup
            | Kind::SetReverseDns
            | Kind::SetFirewall => {
                matches!(self.state, State::Running | State::Stopped)
            }
            Kind::Delete => matches!(
                self.state,
                State::Running | State::Stopped | State::Suspended | State::Lost
            ),
            Kind::Unspecified | Kind::Create | Kind::Suspend | Kind::Resume => false,
        };
        if legal {
            Ok(())
        } else {
            Err(Refused::IllegalState(self.state))
        }
    }
}

/// An instance to make.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: InstanceId,
    /// The order that makes it.
    pub order: OrderId,
    /// Who runs it.
    pub provider: String,
    /// The provider's name of the size.
    pub provider_size: String,
    /// The plan.
    pub plan: PlanId,
    /// Virtual processors.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
    /// The region.
    pub region: RegionId,
    /// The provider's name of the region.
    pub region_code: String,
    /// The image.
    pub image: ImageId,
    /// The provider's name of the image.
    pub image_code: String,
    /// Host name.
    pub hostname: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Price of one period without tax.
    pub price: Rupiah,
    /// The span one price pays for.
    pub period: BillingPeriod,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(state: State) -> Instance {
        let id = uuid::Uuid::from_u128(1);
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        Instance {
            account: AccountId(id),
            id: InstanceId(id),
            order: OrderId(id),
            state,
            wanted: Wanted::Running,
            suspended: false,
            provider: "simulator".to_owned(),
            provider_size: String::new(),
            provider_account: None,
            provider_ref: None,
            unsure_until: None,
            plan: PlanId(id),
            region: RegionId(id),
            region_code: String::new(),
            image: ImageId(id),
            image_code: String::new(),
            vcpus: 1,
            memory_mib: 1024,
            disk_gib: 25,
            hostname: "web-1".to_owned(),
            display_name: "web-1".to_owned(),
            labels: BTreeMap::new(),
            ipv4: None,
            ipv6: None,
            price: Rupiah(100_000),
            period: BillingPeriod::Month,
            look_at: None,
            first_password_until: None,
            revision: 7,
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn what_may_be_asked_in_which_state() {
        let states = |kind| {
            State::ALL
                .into_iter()
                .filter(|s| instance(*s).admits(kind, None).is_ok())
                .collect::<Vec<_>>()
        };
        assert_eq!(states(Kind::PowerOn), [State::Stopped]);
        for kind in [
            Kind::PowerOff,
            Kind::Shutdown,
            Kind::Reboot,
            Kind::ResetPassword,
        ] {
            assert_eq!(states(kind), [State::Running], "{kind:?}");
        }
        for kind in [
            Kind::Rebuild,
            Kind::Resize,
            Kind::CreateSnapshot,
            Kind::RestoreSnapshot,
            Kind::DeleteSnapshot,
            Kind::RestoreBackup,
            Kind::SetReverseDns,
            Kind::SetFirewall,
        ] {
            assert_eq!(states(kind), [State::Running, State::Stopped], "{kind:?}");
        }
        assert_eq!(
            states(Kind::Delete),
            [
                State::Running,
                State::Stopped,
                State::Suspended,
                State::Lost
            ]
        );
        for kind in [Kind::Create, Kind::Suspend, Kind::Resume] {
            assert_eq!(states(kind), [], "{kind:?} is not its owner's to ask");
        }
    }

    #[test]
    fn one_thing_at_a_time() {
        let open = OperationId(uuid::Uuid::from_u128(2));
        assert_eq!(
            instance(State::Running).admits(Kind::PowerOn, Some(open)),
            Err(Refused::Busy(open))
        );
        assert_eq!(
            instance(State::Deleting).admits(Kind::Reboot, Some(open)),
            Err(Refused::IllegalState(State::Deleting))
        );
    }

    #[test]
    fn a_suspended_instance_can_only_be_deleted() {
        for state in [State::Running, State::Stopped, State::Suspended] {
            let suspended = Instance {
                suspended: true,
                ..instance(state)
            };
            for kind in [
                Kind::PowerOn,
                Kind::Reboot,
                Kind::Rebuild,
                Kind::ResetPassword,
            ] {
                assert_eq!(suspended.admits(kind, None), Err(Refused::Suspended));
            }
            assert_eq!(suspended.admits(Kind::Delete, None), Ok(()));
        }
    }

    #[test]
    fn an_etag_guards_only_where_it_is_sent() {
        let instance = instance(State::Running);
        assert_eq!(
            (instance.matches(""), instance.matches("r7")),
            (Ok(()), Ok(()))
        );
        assert_eq!(
            instance.matches("r6"),
            Err(Refused::EtagMismatch {
                sent: "r6".to_owned(),
                current: "r7".to_owned()
            })
        );
    }
}
