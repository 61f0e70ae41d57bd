//! Moments at which a test may end the process as a power failure would: before and after everything that somebody else remembers, be it a commit, a call to a cloud
//! or a gateway, or an answer.
//!
//! A release build has none of it: [`around`] is the work itself there. In a debug build `SEWA_FAULT="order.deliver before 2"` aborts the process the second time
//! it gets there, and `SEWA_FAULT_LOG` names a file to which every moment that is reached is added, so that a test knows which ones it did not try.

use std::future::Future;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What is done between two moments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {$($(#[$doc])* $name),+}

        impl Step {
            /// Every step.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// As tests name it.
            pub fn name(self) -> &'static str {
                match self {$(Self::$name => $text),+}
            }
        }
    };
}

steps! {
    /// The one statement that places a batch of orders.
    PlaceTogether = "order.place-together",
    /// Placing orders of a batch that needs a closer look.
    PlaceEach = "order.place-each",
    /// The commit of any other write.
    Write = "write.commit",
    /// Keeping a refusal for its key.
    Refusal = "write.refusal",
    /// Writing down that a machine is being made.
    OrderBegin = "order.begin",
    /// Putting an order back until its machine has booted.
    OrderWait = "order.wait",
    /// Capturing the money of an order whose machine runs.
    OrderDeliver = "order.deliver",
    /// Giving the money of an order back.
    OrderGiveUp = "order.give-up",
    /// Claiming the right to ask for a machine.
    MachineClaim = "machine.claim",
    /// Asking a cloud for a machine.
    MachineCreate = "machine.create",
    /// Remembering which machine was made.
    MachineAdopt = "machine.adopt",
    /// Any other call to a cloud.
    CloudCall = "cloud.call",
    /// Writing down what an attempt at an operation came to.
    OperationApply = "operation.apply",
    /// Renewing, suspending and terminating what is due.
    Sweep = "lifecycle.sweep",
    /// Writing down what an attempt at a change of plan came to, and settling its money.
    PlanChange = "lifecycle.plan-change",
    /// Walking a test clock one step.
    ClockWalk = "lifecycle.clock",
    /// Following the event log.
    News = "events.consume",
    /// Any call to a payment gateway.
    GatewayCall = "gateway.call",
    /// Doing what follows from what a gateway says.
    DepositSettle = "deposit.settle",
    /// Keeping a callback before it is answered.
    CallbackKeep = "callback.keep",
}

/// Does `work`; a test may end the process right before or right after it.
pub async fn around<T>(step: Step, work: impl Future<Output = T>) -> T {
    at(step, "before");
    let done = work.await;
    at(step, "after");
    done
}

#[cfg(not(debug_assertions))]
fn at(_: Step, _: &str) {}

#[cfg(debug_assertions)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test asks for is no setting of the platform"
)]
fn at(step: Step, moment: &str) {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    static LOG: OnceLock<Option<std::fs::File>> = OnceLock::new();
    let here = format!("{} {moment}", step.name());
    let log = LOG.get_or_init(|| {
        let path = std::env::var_os("SEWA_FAULT_LOG")?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(path).ok()?;
        for step in Step::ALL {
            let _ = file.write_all(format!("there is {}\n", step.name()).as_bytes());
        }
        Some(file)
    });
    if let Some(mut log) = log.as_ref() {
        // One write, so that lines of several threads do not mix.
        let _ = log.write_all(format!("{here}\n").as_bytes());
    }
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("SEWA_FAULT").ok()?;
        let (place, count) = text.rsplit_once(' ')?;
        Some((place.to_owned(), AtomicU32::new(count.parse().ok()?)))
    });
    if let Some((place, left)) = armed
        && *place == here
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn steps_have_names_of_their_own() {
        let mut names: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Step::ALL.len());
    }
}
