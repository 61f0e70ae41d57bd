//! What to do next for an operation, given what its machine is seen to be. Pure: the same look always leads to the same step, so that looking again after a crash
//! goes on where the last one stopped.

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;

use crate::provider::compute::{Machine, Power};
use crate::service::instance::model::{Event, Wanted};

/// How long a guest that was asked to shut down may take before its power is cut.
const SHUTDOWN_PATIENCE: Duration = Duration::seconds(90);
/// The shortest wait between two looks.
const LEAST_PAUSE: Duration = Duration::milliseconds(300);
/// The longest wait between two looks.
const LONGEST_PAUSE: Duration = Duration::seconds(30);

/// An operation as far as it decides what comes next.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What it does.
    pub kind: Kind,
    /// What the owner wants of the instance.
    pub wanted: Wanted,
    /// When the provider accepted it, if it has.
    pub asked_at: Option<DateTime<Utc>>,
    /// True if the provider was asked and did not answer.
    pub unsure: bool,
    /// True if the provider can ask a guest to shut down.
    pub graceful: bool,
    /// True if the provider sets a password only on a machine that is off.
    pub password_off: bool,
}

/// A call at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Power on.
    PowerOn,
    /// Cut the power.
    PowerOff,
    /// Ask the guest to shut down.
    Shutdown,
    /// Restart.
    Reboot,
    /// Make the disk anew.
    Rebuild,
    /// Set the password.
    ResetPassword,
    /// Put the disk back to a snapshot.
    RestoreSnapshot,
    /// Put the disk back to a backup.
    RestoreBackup,
    /// Destroy.
    Delete,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the provider.
    Act(Act),
    /// Look again later.
    Wait,
    /// It is done, and the instance takes this event.
    Done(Option<Event>),
    /// The machine is gone, though nobody asked for that.
    Lost,
}

impl Work {
    /// Whether the provider has taken the operation on. A call whose answer was lost counts if the machine is seen at work afterwards.
    pub fn taken_at(&self, machine: Option<&Machine>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.asked_at
            .or_else(|| machine.filter(|m| self.unsure && m.busy).map(|_| now))
    }

    /// What comes next.
    pub fn next(&self, machine: Option<&Machine>, now: DateTime<Utc>) -> Next {
        let Some(machine) = machine else {
            return if self.kind == Kind::Delete {
                Next::Done(Some(Event::Destroyed))
            } else {
                Next::Lost
            };
        };
        if machine.busy {
            return Next::Wait;
        }
        match self.kind {
            Kind::Resume if self.wanted == Wanted::Stopped => {
                down(machine, Act::PowerOff, Event::Stopped)
            }
            Kind::PowerOn | Kind::Resume => up(machine),
            Kind::PowerOff => down(machine, Act::PowerOff, Event::Stopped),
            Kind::Suspend => down(machine, Act::PowerOff, Event::Suspended),
            Kind::Shutdown => self.shutdown(machine, now),
            // What must be asked once, whatever the machine is, is done when it runs after that.
            Kind::Reboot | Kind::Rebuild | Kind::RestoreSnapshot | Kind::RestoreBackup
                if self.asked_at.is_some() =>
            {
                up(machine)
            }
            Kind::Reboot if machine.power == Power::Stopped => Next::Act(Act::PowerOn),
            Kind::Reboot => Next::Act(Act::Reboot),
            Kind::Rebuild => Next::Act(Act::Rebuild),
            Kind::RestoreSnapshot => Next::Act(Act::RestoreSnapshot),
            Kind::RestoreBackup => Next::Act(Act::RestoreBackup),
            Kind::ResetPassword if self.password_off => self.password_between(machine),
            Kind::ResetPassword if self.asked_at.is_some() => Next::Done(None),
            Kind::ResetPassword => Next::Act(Act::ResetPassword),
            Kind::Delete => Next::Act(Act::Delete),
            // Orders work on CREATE, lifecycle on RESIZE, `snapshot_work`, `reverse_dns` and `firewall_work` on their own, and the store gives out no other number.
            Kind::Create
            | Kind::Resize
            | Kind::CreateSnapshot
            | Kind::DeleteSnapshot
            | Kind::SetReverseDns
            | Kind::SetFirewall
            | Kind::Unspecified => Next::Wait,
        }
    }

    /// Off, the password, on again.
    fn password_between(&self, machine: &Machine) -> Next {
        match machine.power {
            Power::Booting | Power::Stopping => Next::Wait,
            Power::Running if self.asked_at.is_some() => Next::Done(None),
            Power::Running => Next::Act(Act::PowerOff),
            Power::Stopped if self.asked_at.is_some() => Next::Act(Act::PowerOn),
            Power::Stopped => Next::Act(Act::ResetPassword),
        }
    }

    /// Whether this act is what the operation is about, and not only on the way to it.
    pub fn is_asked_by(&self, act: Act) -> bool {
        self.kind != Kind::ResetPassword || act == Act::ResetPassword
    }

    fn shutdown(&self, machine: &Machine, now: DateTime<Utc>) -> Next {
        let impatient = self
            .asked_at
            .is_some_and(|at| now - at >= SHUTDOWN_PATIENCE);
        match self.asked_at {
            Some(_) if !impatient && machine.power != Power::Stopped => Next::Wait,
            None if self.graceful => down(machine, Act::Shutdown, Event::Stopped),
            _ => down(machine, Act::PowerOff, Event::Stopped),
        }
    }
}

/// Done when it runs.
fn up(machine: &Machine) -> Next {
    match machine.power {
        Power::Running => Next::Done(Some(Event::Started)),
        Power::Booting | Power::Stopping => Next::Wait,
        Power::Stopped => Next::Act(Act::PowerOn),
    }
}

/// Done when it is off.
fn down(machine: &Machine, act: Act, done: Event) -> Next {
    match machine.power {
        Power::Stopped => Next::Done(Some(done)),
        Power::Stopping => Next::Wait,
        Power::Booting | Power::Running => Next::Act(act),
    }
}

/// What a machine that is being made needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// Nothing: it runs and has its address.
    Done,
    /// Time.
    Wait,
    /// To be told what it is to be: it is a bare copy of its template.
    Prepare,
    /// Power.
    PowerOn,
}

/// What a machine that is being made needs next.
pub fn making(machine: &Machine) -> Making {
    match machine.power {
        _ if machine.busy => Making::Wait,
        _ if machine.is_raw() => Making::Prepare,
        Power::Running if machine.ipv4.is_some() => Making::Done,
        Power::Running | Power::Booting | Power::Stopping => Making::Wait,
        Power::Stopped => Making::PowerOn,
    }
}

/// How long to wait before an operation of a certain age is looked at again: the older, the longer.
pub fn pause(age: Duration) -> Duration {
    (age / 8).clamp(LEAST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn machine(power: Power) -> Machine {
        Machine {
            provider_ref: "m".to_owned(),
            reference: "r".to_owned(),
            size: "small".to_owned(),
            power,
            busy: false,
            ipv4: None,
            ipv6: None,
        }
    }

    fn work(kind: Kind) -> Work {
        Work {
            kind,
            wanted: Wanted::Running,
            asked_at: None,
            unsure: false,
            graceful: true,
            password_off: false,
        }
    }

    fn asked(kind: Kind) -> Work {
        Work {
            asked_at: Some(now()),
            ..work(kind)
        }
    }

    #[test]
    fn what_comes_next_follows_from_what_is_seen() {
        use Act::{
            Delete, PowerOff, PowerOn, Reboot, Rebuild, ResetPassword, RestoreBackup,
            RestoreSnapshot, Shutdown,
        };
        use Event::{Started, Stopped, Suspended};
        let done = |event| Next::Done(Some(event));
        // Kind; then for a machine that runs and one that is off: before the provider was asked, and after.
        let table = [
            (
                Kind::PowerOn,
                done(Started),
                Next::Act(PowerOn),
                done(Started),
                Next::Act(PowerOn),
            ),
            (
                Kind::PowerOff,
                Next::Act(PowerOff),
                done(Stopped),
                Next::Act(PowerOff),
                done(Stopped),
            ),
            (
                Kind::Suspend,
                Next::Act(PowerOff),
                done(Suspended),
                Next::Act(PowerOff),
                done(Suspended),
            ),
            (
                Kind::Resume,
                done(Started),
                Next::Act(PowerOn),
                done(Started),
                Next::Act(PowerOn),
            ),
            (
                Kind::Shutdown,
                Next::Act(Shutdown),
                done(Stopped),
                Next::Wait,
                done(Stopped),
            ),
            (
                Kind::Reboot,
                Next::Act(Reboot),
                Next::Act(PowerOn),
                done(Started),
                Next::Act(PowerOn),
            ),
            (
                Kind::Rebuild,
                Next::Act(Rebuild),
                Next::Act(Rebuild),
                done(Started),
                Next::Act(PowerOn),
            ),
            (
                Kind::RestoreSnapshot,
                Next::Act(RestoreSnapshot),
                Next::Act(RestoreSnapshot),
                done(Started),
                Next::Act(PowerOn),
            ),
            (
                Kind::RestoreBackup,
                Next::Act(RestoreBackup),
                Next::Act(RestoreBackup),
                done(Started),
                Next::Act(PowerOn),
            ),
            (
                Kind::ResetPassword,
                Next::Act(ResetPassword),
                Next::Act(ResetPassword),
                Next::Done(None),
                Next::Done(None),
            ),
            (
                Kind::Delete,
                Next::Act(Delete),
                Next::Act(Delete),
                Next::Act(Delete),
                Next::Act(Delete),
            ),
        ];
        for (kind, up_before, off_before, up_after, off_after) in table {
            let see = |work: Work, power| work.next(Some(&machine(power)), now());
            let both = |work| (see(work, Power::Running), see(work, Power::Stopped));
            assert_eq!(
                (both(work(kind)), both(asked(kind))),
                ((up_before, off_before), (up_after, off_after)),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_machine_at_work_is_left_alone_and_one_that_is_gone_is_lost_or_done() {
        for kind in [
            Kind::PowerOn,
            Kind::PowerOff,
            Kind::Suspend,
            Kind::Resume,
            Kind::Shutdown,
            Kind::Reboot,
            Kind::Rebuild,
            Kind::ResetPassword,
        ] {
            assert_eq!(
                work(kind).next(
                    Some(&Machine {
                        busy: true,
                        ..machine(Power::Running)
                    }),
                    now()
                ),
                Next::Wait,
                "{kind:?}"
            );
            assert_eq!(work(kind).next(None, now()), Next::Lost, "{kind:?}");
        }
        assert_eq!(
            work(Kind::Delete).next(
                Some(&Machine {
                    busy: true,
                    ..machine(Power::Running)
                }),
                now()
            ),
            Next::Wait
        );
        assert_eq!(
            work(Kind::Delete).next(None, now()),
            Next::Done(Some(Event::Destroyed))
        );
    }

    #[test]
    fn what_its_owner_had_stopped_stays_off_when_resumed() {
        let resume = Work {
            wanted: Wanted::Stopped,
            ..work(Kind::Resume)
        };
        assert_eq!(
            resume.next(Some(&machine(Power::Stopped)), now()),
            Next::Done(Some(Event::Stopped))
        );
        assert_eq!(
            resume.next(Some(&machine(Power::Running)), now()),
            Next::Act(Act::PowerOff)
        );
    }

    #[test]
    fn a_password_that_needs_the_power_off_is_set_between_off_and_on() {
        let before = Work {
            password_off: true,
            ..work(Kind::ResetPassword)
        };
        let after = Work {
            asked_at: Some(now()),
            ..before
        };
        let next = |work: Work, power| work.next(Some(&machine(power)), now());
        assert_eq!(next(before, Power::Running), Next::Act(Act::PowerOff));
        assert_eq!(next(before, Power::Stopping), Next::Wait);
        assert_eq!(next(before, Power::Stopped), Next::Act(Act::ResetPassword));
        assert_eq!(next(after, Power::Stopped), Next::Act(Act::PowerOn));
        assert_eq!(next(after, Power::Booting), Next::Wait);
        assert_eq!(next(after, Power::Running), Next::Done(None));
        assert!(!before.is_asked_by(Act::PowerOff) && before.is_asked_by(Act::ResetPassword));
    }

    #[test]
    fn a_guest_that_does_not_shut_down_loses_its_power() {
        let late = now() + SHUTDOWN_PATIENCE;
        assert_eq!(
            asked(Kind::Shutdown).next(Some(&machine(Power::Running)), late),
            Next::Act(Act::PowerOff)
        );
        let abrupt = Work {
            graceful: false,
            ..work(Kind::Shutdown)
        };
        assert_eq!(
            abrupt.next(Some(&machine(Power::Running)), now()),
            Next::Act(Act::PowerOff)
        );
    }

    #[test]
    fn a_lost_answer_counts_as_taken_when_the_machine_is_at_work() {
        let unsure = Work {
            unsure: true,
            ..work(Kind::Reboot)
        };
        let busy = Machine {
            busy: true,
            ..machine(Power::Booting)
        };
        assert_eq!(unsure.taken_at(Some(&busy), now()), Some(now()));
        assert_eq!(unsure.taken_at(Some(&machine(Power::Running)), now()), None);
        assert_eq!(
            work(Kind::Reboot).taken_at(Some(&busy), now()),
            None,
            "it may be busy with something else"
        );
    }

    #[test]
    fn pauses_grow_with_age_within_bounds() {
        assert_eq!(pause(Duration::zero()), LEAST_PAUSE);
        assert_eq!(pause(Duration::seconds(80)), Duration::seconds(10));
        assert_eq!(pause(Duration::days(1)), LONGEST_PAUSE);
    }
}
