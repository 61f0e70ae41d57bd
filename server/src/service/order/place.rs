//! Placing, many at a time. Whoever places while a transaction commits shares the next one: one lock per wallet, one insert per table, one commit. Each caller
//! gets its own verdict, and the idempotency record of each is a row of the same transaction.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::Duration;
use prost::Message;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::order::v1::PlaceOrderResponse;
use tonic::{Code, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::clock::Clock;
use crate::base::db::PgPool;
use crate::base::fault::{self, Step};
use crate::base::id::{AccountId, InstanceId, OperationId, OrderId};
use crate::base::lane::Lanes;
use crate::base::outbox::reader::Tail;
use crate::base::{db, outbox, writes};
use crate::service::operation::NewOperation;
use crate::service::order::error::Error;
use crate::service::order::model::{Draft, Move, Order, Payment, State};
use crate::service::order::quote::Quote;
use crate::service::order::store::{self, together};
use crate::service::order::{convert, told};
use crate::service::wallet::model::{Action, Command};
use crate::service::{operation, wallet};

/// How long an order may wait for its payment. One that is paid at a gateway ends sooner, with its deposit.
const PAYMENT_PATIENCE: Duration = Duration::days(7);

/// One order to place, with everything that is written beside it: made before the lane takes it, because the lane holds locks.
pub struct Placement {
    call: Arc<Call>,
    /// The order, still without its hold.
    pub order: Order,
    /// The idempotency record of its success.
    pub record: writes::Record,
    /// Why the money is held.
    pub description: String,
    /// The event that tells of it, encoded.
    pub news: Vec<u8>,
}

/// What became of it.
pub enum Placed {
    /// Placed now.
    Fresh,
    /// The key was used before; this is its outcome.
    Repeat(writes::Stored),
}

/// The lanes that place orders.
pub type PlaceLanes = Lanes<Arc<Placement>, Placed>;

/// Starts the lanes.
pub fn lanes(db: PgPool, clock: Clock, tail: Tail, count: usize) -> PlaceLanes {
    Lanes::start(count, move |batch| {
        let (db, clock, tail) = (db.clone(), clock.clone(), tail.clone());
        async move { apply(&db, &clock, &tail, batch).await }
    })
}

/// How long the platform tries to have the machine.
pub fn patience(app: &App) -> Duration {
    Duration::seconds(i64::try_from(app.config.provisioning_deadline_seconds).unwrap_or(600))
}

/// A new order, not written yet.
pub fn new_order(
    app: &App,
    account: AccountId,
    draft: Draft,
    quote: Quote,
    payment: Payment,
    reference: Option<String>,
    actor: String,
) -> Order {
    let now = app.clock.now();
    let (state, deadline) = match payment {
        Payment::Wallet => (State::Paid, patience(app)),
        Payment::StaffApproval | Payment::Gateway => (State::PendingPayment, PAYMENT_PATIENCE),
    };
    let reason = if payment == Payment::Wallet {
        "placed and paid from the wallet"
    } else {
        "placed; waiting for payment"
    };
    Order {
        account,
        id: OrderId::new(),
        state,
        payment,
        draft,
        quote,
        instance: InstanceId::new(),
        operation: OperationId::new(),
        hold: None,
        deposit: None,
        client_reference: reference,
        failure: None,
        history: vec![Move {
            from: None,
            to: state,
            actor,
            reason: reason.to_owned(),
            at: now,
        }],
        attempts: 0,
        last_error: None,
        fence: 0,
        next_attempt_at: now,
        deadline_at: now + deadline,
        revision: 1,
        created_at: now,
        updated_at: now,
    }
}

/// The operation that fulfils an order.
pub fn operation(order: &Order) -> NewOperation {
    NewOperation {
        account: order.account,
        id: order.operation,
        instance: order.instance,
        order: Some(order.id),
        kind: Kind::Create,
        created_at: order.updated_at,
    }
}

/// Places an order paid from the wallet, together with others.
///
/// # Errors
/// INSUFFICIENT_BALANCE, CLIENT_REFERENCE_TAKEN, or what the database says.
pub async fn from_wallet(
    app: &App,
    call: Arc<Call>,
    order: Order,
) -> Result<Response<PlaceOrderResponse>, Status> {
    let operation = operation::convert::new_to_proto(&operation(&order));
    let reply = PlaceOrderResponse {
        order: Some(convert::order(&order, true)),
        operation: Some(operation),
    };
    let account = order.account;
    let placement = Arc::new(Placement {
        record: writes::record(&call, Code::Ok, reply.encode_to_vec()),
        description: order.description(),
        news: told(&order, EventType::OrderPlaced, "").payload,
        call: Arc::clone(&call),
        order,
    });
    let outcome = writes::Stored::of(&placement.record);
    let placed = app.placing.submit(account.0, placement).await;
    let known = match &placed {
        Ok(Placed::Fresh) => Some(outcome),
        Ok(Placed::Repeat(stored)) => Some(stored.clone()),
        Err(_) => None,
    };
    app.repeats.remember(&call, known);
    match placed? {
        Placed::Fresh => Ok(Response::new(reply)),
        Placed::Repeat(stored) => stored.reply(&call),
    }
}

type Verdict = Result<Placed, Status>;

/// Applies a batch: by one statement if all of it fits, as nearly always, otherwise with a closer look at each. Commands whose key turns out to be used already are
/// taken out and the rest is applied again.
async fn apply(
    db: &PgPool,
    clock: &Clock,
    tail: &Tail,
    batch: Vec<Arc<Placement>>,
) -> Result<Vec<Verdict>, sqlx::Error> {
    let mut verdicts: Vec<Option<Verdict>> = batch.iter().map(|_| None).collect();
    let mut keys = HashSet::new();
    for (i, placement) in batch.iter().enumerate() {
        if !keys.insert((placement.call.caller.principal, placement.call.key.as_str())) {
            verdicts[i] = Some(Err(writes::in_progress()));
        }
    }
    loop {
        let open: Vec<usize> = (0..batch.len())
            .filter(|i| verdicts[*i].is_none())
            .collect();
        if open.is_empty() {
            break;
        }
        let placements: Vec<&Placement> = open.iter().map(|i| batch[*i].as_ref()).collect();
        let placing = together::place(db, &placements, clock.now());
        if fault::around(Step::PlaceTogether, placing).await? {
            for i in open {
                verdicts[i] = Some(Ok(Placed::Fresh));
            }
            tail.wake();
            break;
        }
        match attempt(db, clock, &placements).await {
            Ok(Attempt::Done(results)) => {
                for (i, result) in open.into_iter().zip(results) {
                    verdicts[i] = Some(result.map(|()| Placed::Fresh));
                }
                tail.wake();
            }
            Ok(Attempt::Repeated(positions)) => {
                for position in positions {
                    let i = open[position];
                    let stored = writes::find(db, &batch[i].call).await;
                    verdicts[i] = Some(
                        stored.and_then(|s| s.map(Placed::Repeat).ok_or_else(writes::in_progress)),
                    );
                }
            }
            Err(error)
                if batch.len() == 1
                    && db::broken_constraint(&error) == Some("orders_client_reference_key") =>
            {
                verdicts[0] = Some(Err(Error::ClientReferenceTaken.into()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(verdicts.into_iter().flatten().collect())
}

enum Attempt {
    /// Committed, with a verdict for each.
    Done(Vec<Result<(), Status>>),
    /// Rolled back: the keys at these positions were used before.
    Repeated(Vec<usize>),
}

async fn attempt(
    db: &PgPool,
    clock: &Clock,
    placements: &[&Placement],
) -> Result<Attempt, sqlx::Error> {
    let now = clock.now();
    let mut tx = db.begin().await?;
    let mut results: Vec<Option<Result<(), Status>>> = placements.iter().map(|_| None).collect();
    for i in taken_references(&mut tx, placements).await? {
        results[i] = Some(Err(Error::ClientReferenceTaken.into()));
    }
    let asking: Vec<usize> = (0..placements.len())
        .filter(|i| results[*i].is_none())
        .collect();
    let commands: Vec<Command> = asking.iter().map(|i| hold(placements[*i])).collect();
    let verdicts = wallet::apply(&mut tx, &commands, now).await?;
    let mut orders = Vec::with_capacity(asking.len());
    for (i, verdict) in asking.into_iter().zip(verdicts) {
        results[i] = Some(match verdict {
            Ok(journal) => {
                orders.push(Order {
                    hold: Some(journal.id),
                    ..placements[i].order.clone()
                });
                Ok(())
            }
            Err(refused) => Err(Error::Wallet(refused.into()).into()),
        });
    }
    let results: Vec<Result<(), Status>> = results.into_iter().flatten().collect();
    let records: Vec<writes::Record> = placements
        .iter()
        .zip(&results)
        .map(|(placement, result)| record(placement, result))
        .collect();
    let repeated = writes::insert(&mut tx, &records).await?;
    if !repeated.is_empty() {
        tx.rollback().await?;
        return Ok(Attempt::Repeated(repeated));
    }
    if !orders.is_empty() {
        let operations: Vec<NewOperation> = orders.iter().map(operation).collect();
        let events: Vec<outbox::NewEvent> = orders
            .iter()
            .map(|o| told(o, EventType::OrderPlaced, ""))
            .collect();
        store::insert(&mut tx, &orders.iter().collect::<Vec<_>>()).await?;
        operation::insert_many(&mut tx, &operations).await?;
        outbox::insert(&mut tx, &events).await?;
    }
    fault::around(Step::PlaceEach, tx.commit()).await?;
    Ok(Attempt::Done(results))
}

fn hold(placement: &Placement) -> Command {
    let order = &placement.order;
    Command {
        account: order.account,
        action: Action::Hold(order.quote.total),
        subject: order.id.0,
        description: placement.description.clone(),
    }
}

fn record(placement: &Placement, result: &Result<(), Status>) -> writes::Record {
    match result {
        Ok(()) => placement.record.clone(),
        Err(refusal) => writes::record(
            &placement.call,
            refusal.code(),
            writes::encode_status(refusal),
        ),
    }
}

/// Positions of placements whose client reference was used before, by an earlier order or by an earlier one of this batch.
async fn taken_references(
    connection: &mut sqlx::PgConnection,
    placements: &[&Placement],
) -> Result<Vec<usize>, sqlx::Error> {
    let named: Vec<(usize, AccountId, &str)> = placements
        .iter()
        .enumerate()
        .filter_map(|(i, p)| Some((i, p.order.account, p.order.client_reference.as_deref()?)))
        .collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<(AccountId, &str)> = named
        .iter()
        .map(|(_, account, reference)| (*account, *reference))
        .collect();
    let mut used: HashSet<(AccountId, String)> = store::used_references(connection, &asked)
        .await?
        .into_iter()
        .collect();
    Ok(named
        .into_iter()
        .filter(|(_, account, reference)| !used.insert((*account, (*reference).to_owned())))
        .map(|(i, ..)| i)
        .collect())
}
