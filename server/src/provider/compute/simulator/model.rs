//! What a simulated machine is at some moment: a pure function of its row and the time.

use std::net::{Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use uuid::Uuid;

use crate::base::id::AccountId;
use crate::provider::compute::{Machine, Power, ProviderError};

/// How many times as long things take under the fault SLOW.
const SLOWNESS: i32 = 10;

/// Work on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes it and boots it.
    Create,
    /// Powers it on.
    PowerOn,
    /// Cuts its power.
    PowerOff,
    /// Asks its guest to shut down, which it does.
    Shutdown,
    /// Restarts it.
    Reboot,
    /// Makes its disk anew and boots it.
    Rebuild,
    /// Sets its password.
    ResetPassword,
    /// Gives it another size.
    Resize,
    /// Copies its disk.
    Snapshot,
    /// Puts its disk back to a copy and boots it.
    Restore,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::PowerOn,
        Self::PowerOff,
        Self::Shutdown,
        Self::Reboot,
        Self::Rebuild,
        Self::ResetPassword,
        Self::Resize,
        Self::Snapshot,
        Self::Restore,
    ];

    /// Whether a machine that is on was powered on by it.
    pub fn powers_on(self) -> bool {
        !matches!(self, Self::Snapshot | Self::ResetPassword)
    }

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::PowerOn => "POWER_ON",
            Self::PowerOff => "POWER_OFF",
            Self::Shutdown => "SHUTDOWN",
            Self::Reboot => "REBOOT",
            Self::Rebuild => "REBUILD",
            Self::ResetPassword => "RESET_PASSWORD",
            Self::Resize => "RESIZE",
            Self::Snapshot => "SNAPSHOT",
            Self::Restore => "RESTORE",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == text)
    }

    /// How long it takes where booting takes `boot`.
    fn takes(self, boot: Duration) -> Duration {
        match self {
            Self::Create | Self::PowerOn | Self::Reboot | Self::Resize | Self::Snapshot => boot,
            Self::Rebuild | Self::Restore => boot * 2,
            Self::PowerOff | Self::Shutdown | Self::ResetPassword => boot / 5,
        }
    }
}

/// The pace of the simulated cloud during one call.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a machine boots.
    pub boot: Duration,
    /// True under the fault SLOW.
    pub slow: bool,
}

impl Pace {
    /// How long an action takes.
    pub fn of(self, action: Action) -> Duration {
        self.stretched(action.takes(self.boot))
    }

    /// How long destroying takes.
    pub fn of_delete(self) -> Duration {
        self.stretched(self.boot / 5)
    }

    fn stretched(self, time: Duration) -> Duration {
        if self.slow { time * SLOWNESS } else { time }
    }
}

/// A row of `sim_machines`, as far as it decides what the machine is.
#[derive(Clone, Debug)]
pub struct Row {
    /// The cloud's name for the machine.
    pub id: Uuid,
    /// The customer it is for.
    pub account: AccountId,
    /// Our name for it.
    pub reference: String,
    /// Its size.
    pub size: String,
    /// Offset of its addresses in their pools.
    pub address: i32,
    /// Whether it is on, once `action` has settled.
    pub powered_on: bool,
    /// The last thing done to it.
    pub action: Action,
    /// When `action` is done.
    pub settles_at: DateTime<Utc>,
    /// When it was last powered on, or will have been; `None` if it is off.
    pub powered_at: Option<DateTime<Utc>>,
    /// When its addresses show.
    pub address_at: DateTime<Utc>,
    /// Disappears once it was seen running.
    pub vanishes: bool,
    /// When it ends; there is no machine from then on.
    pub gone_at: Option<DateTime<Utc>>,
}

impl Row {
    /// The machine at a moment; `None` once it is gone.
    pub fn seen(&self, now: DateTime<Utc>) -> Option<Machine> {
        if self.gone_at.is_some_and(|at| at <= now) {
            return None;
        }
        let addressed = self.address_at <= now;
        Some(Machine {
            provider_ref: self.id.to_string(),
            reference: self.reference.clone(),
            size: self.size.clone(),
            power: self.power(now),
            busy: self.busy(now),
            ipv4: addressed.then(|| ipv4(self.address)),
            ipv6: addressed.then(|| ipv6(self.address)),
        })
    }

    /// For how long it has been on, if it is.
    pub fn on_for(&self, now: DateTime<Utc>) -> Option<Duration> {
        let since = self.powered_at.unwrap_or(self.settles_at);
        (self.power(now) == Power::Running).then(|| (now - since).max(Duration::zero()))
    }

    /// Whether this look, which shows the machine running, is the last one.
    pub fn vanishes_after(&self, now: DateTime<Utc>) -> bool {
        self.vanishes && self.gone_at.is_none() && self.power(now) == Power::Running
    }

    /// Whether the machine takes no other work.
    fn busy(&self, now: DateTime<Utc>) -> bool {
        now < self.settles_at || self.gone_at.is_some()
    }

    fn power(&self, now: DateTime<Utc>) -> Power {
        if now >= self.settles_at {
            return if self.powered_on {
                Power::Running
            } else {
                Power::Stopped
            };
        }
        match self.action {
            Action::Create
            | Action::PowerOn
            | Action::Reboot
            | Action::Rebuild
            | Action::Restore => Power::Booting,
            Action::PowerOff | Action::Shutdown => Power::Stopping,
            Action::Snapshot if self.powered_on => Power::Running,
            Action::Snapshot => Power::Stopped,
            Action::ResetPassword => Power::Running,
            Action::Resize => Power::Stopped,
        }
    }

    /// Takes work on: whether the machine is on afterwards, or `None` if there is nothing to do.
    ///
    /// # Errors
    /// NotFound for a machine that is gone, Busy for one being worked on, Refused for what needs a running machine, or one that is off, and has another.
    pub fn begin(&self, action: Action, now: DateTime<Utc>) -> Result<Option<bool>, ProviderError> {
        if self.seen(now).is_none() {
            return Err(ProviderError::NotFound);
        }
        if self.busy(now) {
            return Err(ProviderError::Busy);
        }
        match action {
            Action::Create => Err(ProviderError::Refused("the machine exists".to_owned())),
            Action::PowerOn => Ok((!self.powered_on).then_some(true)),
            Action::PowerOff | Action::Shutdown => Ok(self.powered_on.then_some(false)),
            Action::Rebuild | Action::Restore => Ok(Some(true)),
            Action::Snapshot => Ok(Some(self.powered_on)),
            Action::Reboot | Action::ResetPassword if self.powered_on => Ok(Some(true)),
            Action::Reboot | Action::ResetPassword => {
                Err(ProviderError::Refused("the machine is off".to_owned()))
            }
            Action::Resize if self.powered_on => {
                Err(ProviderError::Refused("the machine is on".to_owned()))
            }
            Action::Resize => Ok(Some(false)),
        }
    }
}

/// An address of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544).
fn ipv4(offset: i32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + offset.unsigned_abs())
}

/// An address of 2001:db8::/32, which is set aside for documentation (RFC 3849).
fn ipv6(offset: i32) -> Ipv6Addr {
    Ipv6Addr::from(
        u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0))
            + u128::from(offset.unsigned_abs()),
    )
}

/// The faults in force towards an account during one call, which may fall to each of them once.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// In force.
    present: Vec<Kind>,
    /// Fallen to.
    pub taken: Vec<Kind>,
}

impl Faults {
    /// Those in force.
    pub fn new(present: Vec<Kind>) -> Self {
        Self {
            present,
            taken: Vec::new(),
        }
    }

    /// Whether this call is spoiled in a certain way. It counts.
    pub fn take(&mut self, kind: Kind) -> bool {
        let spoiled = self.present.contains(&kind);
        if spoiled && !self.taken.contains(&kind) {
            self.taken.push(kind);
        }
        spoiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + ms).unwrap()
    }

    fn booting() -> Row {
        Row {
            id: Uuid::from_u128(1),
            account: AccountId(Uuid::from_u128(2)),
            reference: "r".to_owned(),
            size: "small".to_owned(),
            address: 257,
            powered_on: true,
            action: Action::Create,
            settles_at: at(1000),
            powered_at: Some(at(1000)),
            address_at: at(500),
            vanishes: false,
            gone_at: None,
        }
    }

    #[test]
    fn a_new_machine_boots_gets_addresses_half_way_and_runs() {
        let row = booting();
        let looks = [
            (0, Power::Booting, true, false),
            (499, Power::Booting, true, false),
            (500, Power::Booting, true, true),
            (1000, Power::Running, false, true),
        ];
        for (ms, power, busy, addressed) in looks {
            let machine = row.seen(at(ms)).unwrap();
            assert_eq!(
                (
                    machine.power,
                    machine.busy,
                    machine.ipv4.is_some(),
                    machine.ipv6.is_some()
                ),
                (power, busy, addressed, addressed),
                "after {ms} ms"
            );
        }
        let machine = row.seen(at(1000)).unwrap();
        assert_eq!(
            (machine.ipv4, machine.ipv6),
            (
                Some(Ipv4Addr::new(198, 18, 1, 1)),
                Some("2001:db8::101".parse().unwrap())
            )
        );
    }

    #[test]
    fn addresses_stay_within_the_pool_at_both_ends() {
        assert_eq!(
            (ipv4(1), ipv4(131_070)),
            (
                Ipv4Addr::new(198, 18, 0, 1),
                Ipv4Addr::new(198, 19, 255, 254)
            )
        );
    }

    #[test]
    fn a_busy_machine_takes_no_other_work() {
        for action in Action::ALL {
            assert_eq!(booting().begin(action, at(999)), Err(ProviderError::Busy));
        }
    }

    #[test]
    fn what_work_does_depends_on_the_power() {
        let refused = |why: &str| Err(ProviderError::Refused(why.to_owned()));
        let expected = [
            (
                Action::Create,
                refused("the machine exists"),
                refused("the machine exists"),
            ),
            (Action::PowerOn, Ok(None), Ok(Some(true))),
            (Action::PowerOff, Ok(Some(false)), Ok(None)),
            (Action::Shutdown, Ok(Some(false)), Ok(None)),
            (
                Action::Reboot,
                Ok(Some(true)),
                refused("the machine is off"),
            ),
            (Action::Rebuild, Ok(Some(true)), Ok(Some(true))),
            (Action::Snapshot, Ok(Some(true)), Ok(Some(false))),
            (Action::Restore, Ok(Some(true)), Ok(Some(true))),
            (
                Action::ResetPassword,
                Ok(Some(true)),
                refused("the machine is off"),
            ),
            (
                Action::Resize,
                refused("the machine is on"),
                Ok(Some(false)),
            ),
        ];
        for (action, when_on, when_off) in expected {
            let off = Row {
                powered_on: false,
                ..booting()
            };
            assert_eq!(
                (
                    booting().begin(action, at(1000)),
                    off.begin(action, at(1000))
                ),
                (when_on, when_off),
                "{action:?}"
            );
        }
    }

    #[test]
    fn a_machine_being_destroyed_is_busy_and_then_gone() {
        let row = Row {
            gone_at: Some(at(3000)),
            ..booting()
        };
        assert!(row.seen(at(2999)).unwrap().busy);
        assert_eq!(
            row.begin(Action::PowerOff, at(2999)),
            Err(ProviderError::Busy)
        );
        assert_eq!(row.seen(at(3000)), None);
        assert_eq!(
            row.begin(Action::PowerOff, at(3000)),
            Err(ProviderError::NotFound)
        );
    }

    #[test]
    fn a_vanishing_machine_is_seen_running_once() {
        let row = Row {
            vanishes: true,
            ..booting()
        };
        assert!(!row.vanishes_after(at(999)));
        assert!(row.vanishes_after(at(1000)));
        assert!(!booting().vanishes_after(at(1000)));
    }

    #[test]
    fn slow_is_ten_times_as_long() {
        let pace = |slow| Pace {
            boot: Duration::milliseconds(100),
            slow,
        };
        for action in Action::ALL {
            assert_eq!(
                pace(true).of(action),
                pace(false).of(action) * 10,
                "{action:?}"
            );
        }
        assert_eq!(pace(false).of(Action::Create), Duration::milliseconds(100));
        assert_eq!(pace(true).of_delete(), Duration::milliseconds(200));
    }

    #[test]
    fn only_faults_that_spoiled_the_call_count() {
        let mut faults = Faults::new(vec![Kind::Error, Kind::Slow]);
        assert!(faults.take(Kind::Error) && faults.take(Kind::Error) && !faults.take(Kind::Vanish));
        assert_eq!(faults.taken, [Kind::Error]);
    }

    #[test]
    fn actions_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
    }
}
