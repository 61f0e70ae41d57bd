//! What will happen: the schedule of an account, walked forward from its subscriptions and its balance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};

use crate::base::id::InstanceId;
use crate::base::money::Rupiah;
use crate::service::lifecycle::model::{Step, Subscription};

/// Steps walked at most; a page beyond them is empty.
const MAX_STEPS: usize = 20_000;

/// One thing to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The machine.
    pub instance: InstanceId,
    /// What happens.
    pub step: Step,
    /// When.
    pub at: DateTime<Utc>,
    /// What it charges.
    pub amount: Rupiah,
    /// Whether the balance covers it after what comes before.
    pub covered: bool,
}

/// The steps before `until`, soonest first, were nothing to change. `available` pays renewals in order, except those paid ahead.
pub fn schedule(
    subscriptions: Vec<Subscription>,
    mut available: Rupiah,
    until: DateTime<Utc>,
) -> Vec<Planned> {
    let mut walking = subscriptions;
    let mut queue: BinaryHeap<Reverse<(DateTime<Utc>, usize)>> = walking
        .iter()
        .enumerate()
        .filter_map(|(i, s)| s.next.map(|(_, at)| Reverse((at, i))))
        .collect();
    let mut planned = Vec::new();
    while let Some(Reverse((at, i))) = queue.pop() {
        let subscription = &mut walking[i];
        let Some((step, _)) = subscription
            .next
            .filter(|_| at < until && planned.len() < MAX_STEPS)
        else {
            continue;
        };
        let charge = subscription
            .next_charge(at)
            .filter(|_| subscription.asks_for_money());
        let prepaid = subscription.renewal_hold.is_some();
        let left = charge
            .filter(|_| !prepaid)
            .and_then(|c| available.checked_sub(c.total))
            .filter(|left| *left >= Rupiah::ZERO);
        let covered = prepaid || left.is_some();
        let instance = subscription.instance;
        match charge {
            Some(charge) if covered => {
                available = left.unwrap_or(available);
                planned.push(Planned {
                    instance,
                    step: Step::Renew,
                    at,
                    amount: charge.total,
                    covered,
                });
                subscription.paid(&charge);
            }
            _ => {
                let amount = charge
                    .filter(|_| step == Step::Renew)
                    .map_or(Rupiah::ZERO, |c| c.total);
                planned.push(Planned {
                    instance,
                    step,
                    at,
                    amount,
                    covered: step != Step::Renew,
                });
                subscription.unpaid(step);
            }
        }
        if let Some((_, next)) = subscription.next {
            queue.push(Reverse((next, i)));
        }
    }
    planned
}
