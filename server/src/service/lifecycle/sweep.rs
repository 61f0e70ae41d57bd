//! The sweep: finds what is due by its time, in chunks, and settles each chunk as one batch of the ledger. Any number of replicas may run it together: a chunk is
//! locked while it is settled, and others pass over it. Killed anywhere, the chunk rolls back and is due again.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, LifecyclePayload};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::fault;
use crate::base::id::{AccountId, InstanceId, RenewalId};
use crate::base::money::Rupiah;
use crate::base::outbox::{self, NewEvent};
use crate::base::time;
use crate::service::lifecycle::model::{Charge, State, Step, Subscription};
use crate::service::lifecycle::store::{self, Renewal};
use crate::service::wallet::model::{Action, Command, Refused};
use crate::service::{instance, wallet};

/// Subscriptions settled in one transaction.
pub const CHUNK: i64 = 1000;

/// Settles one chunk of what is due, and returns how many subscriptions that were.
///
/// # Errors
/// Of the database; nothing of the chunk is done then.
pub async fn step(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let due = store::due_for_update(&mut tx, now, CHUNK).await?;
    let count = due.len();
    if count > 0 {
        settle(app, &mut tx, due, now).await?;
        fault::around(fault::Step::Sweep, tx.commit()).await?;
        app.tail.wake();
    }
    Ok(count)
}

/// What a chunk changes.
#[derive(Default)]
struct Changes {
    renewals: Vec<Renewal>,
    captured: Vec<(AccountId, InstanceId)>,
    events: Vec<NewEvent>,
    suspend: Vec<(AccountId, InstanceId)>,
    resume: Vec<(AccountId, InstanceId)>,
    terminate: Vec<(AccountId, InstanceId)>,
}

/// Settles due subscriptions that the caller has locked: asks for money where that is wanted, and takes the due step where there is none.
///
/// # Errors
/// Of the database.
pub async fn settle(
    app: &App,
    connection: &mut PgConnection,
    due: Vec<Subscription>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let charges: HashMap<usize, Charge> = due
        .iter()
        .enumerate()
        .filter(|(_, s)| s.asks_for_money())
        .filter_map(|(i, s)| Some((i, s.next_charge(now)?)))
        .collect();
    let asked: Vec<usize> = (0..due.len()).filter(|i| charges.contains_key(i)).collect();
    let commands: Vec<Command> = asked
        .iter()
        .map(|i| command(&due[*i], &charges[i]))
        .collect();
    let recorded_at = app.clock.now();
    let verdicts = wallet::apply(connection, &commands, recorded_at).await?;
    let mut paid: HashMap<usize, Result<(), Refused>> = asked
        .iter()
        .copied()
        .zip(verdicts.into_iter().map(|v| v.map(|_| ())))
        .collect();

    let mut changes = Changes::default();
    let mut changed = Vec::with_capacity(due.len());
    for (i, mut subscription) in due.into_iter().enumerate() {
        let Some((step, _)) = subscription.next else {
            continue;
        };
        match (paid.remove(&i), charges.get(&i)) {
            // Frozen a moment ago. It is neither paid nor unpaid, and stays due.
            (Some(Err(Refused::Frozen)), _) => continue,
            (Some(Ok(())), Some(charge)) => renewed(&mut subscription, charge, &mut changes, now),
            (_, charge) => went_unpaid(&mut subscription, step, charge, &mut changes, now),
        }
        changed.push(subscription);
    }
    store::close_held(connection, &changes.captured, "PAID").await?;
    store::insert_renewals(connection, &changes.renewals).await?;
    store::save(connection, &changed).await?;
    instance::suspend_many(connection, &changes.suspend, recorded_at).await?;
    instance::resume_many(connection, &changes.resume, recorded_at).await?;
    instance::terminate_many(connection, &changes.terminate, recorded_at).await?;
    outbox::insert(connection, &changes.events).await
}

/// The ledger command that pays a period.
pub fn command(subscription: &Subscription, charge: &Charge) -> Command {
    let action = match subscription.renewal_hold {
        Some(hold) => Action::Capture {
            hold,
            tax: charge.tax,
        },
        None => Action::Charge {
            total: charge.total,
            tax: charge.tax,
        },
    };
    let description = format!("Renewal {} of {}", charge.number, subscription.instance);
    Command {
        account: subscription.account,
        action,
        subject: subscription.instance.0,
        description,
    }
}

fn renewed(
    subscription: &mut Subscription,
    charge: &Charge,
    changes: &mut Changes,
    now: DateTime<Utc>,
) {
    let key = (subscription.account, subscription.instance);
    if subscription.renewal_hold.is_some() {
        changes.captured.push(key);
    } else {
        changes
            .renewals
            .push(renewal(subscription, charge, "PAID", now));
    }
    let was_suspended = subscription.state == State::Suspended;
    subscription.paid(charge);
    changes
        .events
        .push(event(subscription, EventType::Renewed, charge.total, now));
    if was_suspended {
        changes.resume.push(key);
        changes.events.push(event(
            subscription,
            EventType::Unsuspended,
            charge.total,
            now,
        ));
    }
}

fn went_unpaid(
    subscription: &mut Subscription,
    step: Step,
    charge: Option<&Charge>,
    changes: &mut Changes,
    now: DateTime<Utc>,
) {
    let key = (subscription.account, subscription.instance);
    let total = charge.map_or(Rupiah::ZERO, |c| c.total);
    let was = subscription.state;
    if let (Step::Renew, State::Active, Some(charge)) = (step, was, charge) {
        changes
            .renewals
            .push(renewal(subscription, charge, "UNPAID", now));
    }
    subscription.unpaid(step);
    let kind = match step {
        // Trying again because some money came, and finding too little, is no news.
        Step::Renew if was != State::Active => return,
        Step::Renew => EventType::RenewalFailed,
        Step::Suspend => {
            changes.suspend.push(key);
            EventType::Suspended
        }
        Step::Terminate => {
            changes.terminate.push(key);
            EventType::Terminated
        }
    };
    changes.events.push(event(subscription, kind, total, now));
}

/// The row of a renewal.
pub fn renewal(
    subscription: &Subscription,
    charge: &Charge,
    state: &str,
    now: DateTime<Utc>,
) -> Renewal {
    Renewal {
        account: subscription.account,
        id: RenewalId::new(),
        instance: subscription.instance,
        charge: *charge,
        state: state.to_owned(),
        created_at: now,
    }
}

/// News of a subscription.
pub fn event(
    subscription: &Subscription,
    kind: EventType,
    amount: Rupiah,
    now: DateTime<Utc>,
) -> NewEvent {
    let payload = Payload::Lifecycle(LifecyclePayload {
        instance_id: subscription.instance.to_string(),
        amount: Some(amount.to_proto()),
        paid_until: Some(time::to_proto(subscription.paid_until)),
    });
    NewEvent::new(
        subscription.account,
        kind,
        subscription.instance.0,
        subscription.revision,
        now,
        payload,
    )
}
