//! What comes next for a machine that is given another size.

use super::*;

const CAN: Capabilities = Capabilities {
    graceful_shutdown: true,
    reset_password: true,
    reset_password_off: false,
    rebuild_credentials: true,
    user_data: true,
    rebuild: true,
    resize: true,
    resize_disk: true,
    resize_down: true,
    resize_off: true,
    console: false,
};

fn now() -> DateTime<Utc> {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn machine(size: &str, power: Power) -> Machine {
    Machine {
        provider_ref: "m".to_owned(),
        reference: "r".to_owned(),
        size: size.to_owned(),
        power,
        busy: false,
        ipv4: None,
        ipv6: None,
    }
}

fn target(failed: bool) -> Target {
    Target {
        size: "big".to_owned(),
        disk_grows: true,
        failed,
    }
}

fn work(target: &Target) -> Work<'_> {
    Work {
        target,
        wanted: Wanted::Running,
        asked_at: None,
        created_at: now(),
        can: CAN,
    }
}

#[test]
fn off_the_new_size_and_on_again() {
    let target = target(false);
    let work = work(&target);
    let next = |work: Work<'_>, size, power| work.next(Some(&machine(size, power)), now());
    assert_eq!(next(work, "small", Power::Running), Next::Shutdown);
    assert_eq!(next(work, "small", Power::Stopping), Next::Wait);
    assert_eq!(next(work, "small", Power::Stopped), Next::Resize);
    assert_eq!(next(work, "big", Power::Stopped), Next::PowerOn);
    assert_eq!(next(work, "big", Power::Booting), Next::Wait);
    assert_eq!(
        next(work, "big", Power::Running),
        Next::Done(Event::Started)
    );
    let late = work.next(
        Some(&machine("small", Power::Running)),
        now() + SHUTDOWN_PATIENCE,
    );
    assert_eq!(late, Next::PowerOff, "a guest that does not obey");
    let live = Work {
        can: Capabilities {
            resize_off: false,
            ..CAN
        },
        ..work
    };
    assert_eq!(next(live, "small", Power::Running), Next::Resize);
    let stopped = Work {
        wanted: Wanted::Stopped,
        ..work
    };
    assert_eq!(
        next(stopped, "big", Power::Stopped),
        Next::Done(Event::Stopped)
    );
    assert_eq!(
        next(stopped, "big", Power::Running),
        Next::PowerOff,
        "a cloud that boots it afterwards"
    );
    assert_eq!(work.next(None, now()), Next::Lost);
}

#[test]
fn what_was_taken_on_and_not_done_is_given_up_and_put_back() {
    let (open, failed) = (target(false), target(true));
    let asked = Work {
        asked_at: Some(now()),
        ..work(&open)
    };
    let small = machine("small", Power::Stopped);
    assert_eq!(asked.next(Some(&small), now()), Next::Wait);
    assert_eq!(asked.next(Some(&small), now() + SETTLE), Next::NotDone);
    let busy = Machine {
        busy: true,
        ..small.clone()
    };
    assert_eq!(asked.next(Some(&busy), now() + SETTLE), Next::Wait);
    let failing = work(&failed);
    assert_eq!(failing.next(Some(&small), now()), Next::PowerOn);
    assert_eq!(
        failing.next(Some(&machine("small", Power::Running)), now()),
        Next::Restored(Event::Started)
    );
    assert_eq!(
        failing.next(Some(&machine("big", Power::Running)), now()),
        Next::Done(Event::Started),
        "it was done after all"
    );
}
