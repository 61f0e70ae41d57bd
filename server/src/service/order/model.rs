//! The rules of orders: how they move, and how long to wait between attempts. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use sewa_sdk::sewa::api::v1::BillingPeriod;

use crate::base::id::{
    AccountId, DepositId, ImageId, InstanceId, JournalId, OperationId, OrderId, PlanId, RegionId,
};
use crate::service::lifecycle::model::Start;
use crate::service::order::quote::Quote;
use crate::service::wallet::model::{Action, Command};

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Waiting for the payment at a gateway, or for staff to confirm it.
    PendingPayment,
    /// Money is held.
    Paid,
    /// The machine is being made.
    Provisioning,
    /// The machine runs and the money is captured.
    Active,
    /// The machine could not be had.
    Failed,
    /// The machine could not be had and the money is back.
    Refunded,
    /// Called off.
    Cancelled,
    /// Not paid in time.
    Expired,
}

/// Every event.
pub const EVENTS: [Event; 9] = [
    Event::Pay,
    Event::Approve,
    Event::Reject,
    Event::Expire,
    Event::Cancel,
    Event::Begin,
    Event::Deliver,
    Event::Fail,
    Event::Refund,
];

/// What moves an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The gateway confirmed the payment.
    Pay,
    /// Staff confirm payment.
    Approve,
    /// Staff refuse payment.
    Reject,
    /// Nobody paid in time.
    Expire,
    /// The owner calls it off.
    Cancel,
    /// Work on the machine begins.
    Begin,
    /// The machine runs.
    Deliver,
    /// The machine cannot be had.
    Fail,
    /// The money of a failed order is back.
    Refund,
}

/// A move that the present state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {state:?} does not take {event:?}")]
pub struct InvalidTransition {
    /// The present state.
    pub state: State,
    /// What was tried.
    pub event: Event,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::PendingPayment,
        Self::Paid,
        Self::Provisioning,
        Self::Active,
        Self::Failed,
        Self::Refunded,
        Self::Cancelled,
        Self::Expired,
    ];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingPayment => "PENDING_PAYMENT",
            Self::Paid => "PAID",
            Self::Provisioning => "PROVISIONING",
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
            Self::Refunded => "REFUNDED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Where an event leads.
    ///
    /// # Errors
    /// If the state does not take it.
    pub fn on(self, event: Event) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::PendingPayment, Event::Pay | Event::Approve) => Ok(Self::Paid),
            (Self::PendingPayment, Event::Reject) => Ok(Self::Cancelled),
            (Self::PendingPayment, Event::Expire) => Ok(Self::Expired),
            (Self::PendingPayment | Self::Paid | Self::Provisioning, Event::Cancel) => {
                Ok(Self::Cancelled)
            }
            (Self::Paid, Event::Begin) => Ok(Self::Provisioning),
            (Self::Provisioning, Event::Deliver) => Ok(Self::Active),
            (Self::Paid | Self::Provisioning, Event::Fail) => Ok(Self::Failed),
            (Self::Failed, Event::Refund) => Ok(Self::Refunded),
            (
                Self::PendingPayment
                | Self::Paid
                | Self::Provisioning
                | Self::Active
                | Self::Failed
                | Self::Refunded
                | Self::Cancelled
                | Self::Expired,
                Event::Pay
                | Event::Approve
                | Event::Reject
                | Event::Expire
                | Event::Cancel
                | Event::Begin
                | Event::Deliver
                | Event::Fail
                | Event::Refund,
            ) => Err(InvalidTransition { state: self, event }),
        }
    }
}

/// What is to be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The plan.
    pub plan: PlanId,
    /// Where.
    pub region: RegionId,
    /// With which image.
    pub image: ImageId,
    /// Paid for which span.
    pub period: BillingPeriod,
    /// Host name.
    pub hostname: String,
    /// Renews by itself.
    pub auto_renew: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Code of a coupon; empty for none.
    pub coupon_code: String,
}

/// How an order is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Payment {
    /// From the wallet, at once.
    Wallet = 1,
    /// Outside; staff approve it.
    StaffApproval = 2,
    /// Directly at a payment gateway, by a deposit for this order.
    Gateway = 3,
}

/// One move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Where it came from; `None` for the first.
    pub from: Option<State>,
    /// Where it went.
    pub to: State,
    /// Who moved it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Who moves orders where nobody asked.
pub const SYSTEM: &str = "system";

/// Why an order failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No machine in time.
    ProvisioningTimeout,
    /// The provider refused or could not be reached.
    ProviderUnavailable,
    /// The provider has no room.
    OutOfCapacity,
    /// The gateway took the payment back before the machine ran.
    PaymentReversed,
}

impl Failure {
    /// The contract's reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ProvisioningTimeout => "PROVISIONING_TIMEOUT",
            Self::ProviderUnavailable => "PROVIDER_UNAVAILABLE",
            Self::OutOfCapacity => "OUT_OF_CAPACITY",
            Self::PaymentReversed => "PAYMENT_REVERSED",
        }
    }

    /// For people.
    pub fn message(self) -> &'static str {
        match self {
            Self::ProvisioningTimeout => "the machine did not run in time; the money was released",
            Self::ProviderUnavailable => {
                "the provider could not make the machine; the money was released"
            }
            Self::OutOfCapacity => "the region has no room for the plan; the money was released",
            Self::PaymentReversed => "the payment was taken back by the gateway",
        }
    }
}

/// An order.
#[derive(Clone, Debug)]
pub struct Order {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: OrderId,
    /// How far it is.
    pub state: State,
    /// How it is paid.
    pub payment: Payment,
    /// What was bought.
    pub draft: Draft,
    /// The price.
    pub quote: Quote,
    /// The machine.
    pub instance: InstanceId,
    /// The operation that makes it.
    pub operation: OperationId,
    /// The money held.
    pub hold: Option<JournalId>,
    /// The deposit by which it is paid directly.
    pub deposit: Option<DepositId>,
    /// The caller's own reference.
    pub client_reference: Option<String>,
    /// Why it failed: reason and words.
    pub failure: Option<(String, String)>,
    /// Every move.
    pub history: Vec<Move>,
    /// Attempts at the provider.
    pub attempts: i32,
    /// What went wrong at the last attempt.
    pub last_error: Option<String>,
    /// Grows with each attempt, so that a replica that was overtaken notices.
    pub fence: i32,
    /// When it is due for work.
    pub next_attempt_at: DateTime<Utc>,
    /// When it is given up.
    pub deadline_at: DateTime<Utc>,
    /// Grows with each change.
    pub revision: i64,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
}

impl Order {
    /// What its money is for, as journals and invoices say it.
    pub fn description(&self) -> String {
        let mut text = format!("Order {}: {}", self.id, self.quote.plan_name);
        let promotion = self.quote.promotion.as_ref();
        let promotion = promotion.map(|p| (&p.display_name, p.amount));
        let coupon = self.quote.discount.as_ref().map(|d| (&d.code, d.amount));
        for (name, amount) in promotion.into_iter().chain(coupon) {
            text.push_str(&format!(", {name} -{amount}"));
        }
        text
    }

    /// Spends the money held for it.
    pub fn capture(&self) -> Option<Command> {
        let (hold, tax) = (self.hold?, self.quote.tax);
        Some(self.command(Action::Capture { hold, tax }, self.description()))
    }

    /// Gives the money held for it back; `None` where none is.
    pub fn release(&self) -> Option<Command> {
        let hold = self.hold?;
        let description = format!("Order {} given back", self.id);
        Some(self.command(Action::Release { hold }, description))
    }

    fn command(&self, action: Action, description: String) -> Command {
        Command {
            account: self.account,
            action,
            subject: self.id.0,
            description,
        }
    }

    /// What lifecycle takes over once its machine runs.
    pub fn subscription(&self) -> Start {
        Start {
            account: self.account,
            instance: self.instance,
            order: self.id,
            price: self.quote.renewal_price(),
            paid: self.quote.subtotal,
            period: self.draft.period,
            auto_renew: self.draft.auto_renew,
        }
    }

    /// Why it is given up at `now`, if its time is over.
    pub fn overdue(&self, now: DateTime<Utc>) -> Option<Failure> {
        (now >= self.deadline_at).then_some(if self.last_error.is_some() {
            Failure::ProviderUnavailable
        } else {
            Failure::ProvisioningTimeout
        })
    }

    /// Moves the order and writes the move into its history.
    ///
    /// # Errors
    /// If the state does not take the event; nothing changes then.
    pub fn take(
        &mut self,
        event: Event,
        actor: &str,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<(), InvalidTransition> {
        let to = self.state.on(event)?;
        self.history.push(Move {
            from: Some(self.state),
            to,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            at,
        });
        self.state = to;
        self.revision += 1;
        self.updated_at = at;
        Ok(())
    }
}

/// How long to wait before attempt number `attempt` (1 for the first repeat): doubling from half a second to a minute, with jitter so that orders that failed
/// together do not come back together.
pub fn backoff(attempt: i32, jitter: f64) -> Duration {
    let exponent = u32::try_from(attempt.clamp(0, 7)).unwrap_or(0);
    let ceiling = (500 * 2_i64.pow(exponent)).min(60_000);
    let spread = jitter.clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "milliseconds below a minute"
    )]
    Duration::milliseconds(ceiling / 2 + (ceiling as f64 / 2.0 * spread) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_of_moves() {
        let mut table = Vec::new();
        for state in State::ALL {
            for event in EVENTS {
                if let Ok(to) = state.on(event) {
                    table.push(format!("{} -{event:?}-> {}", state.as_str(), to.as_str()));
                }
            }
        }
        assert_eq!(
            table,
            [
                "PENDING_PAYMENT -Pay-> PAID",
                "PENDING_PAYMENT -Approve-> PAID",
                "PENDING_PAYMENT -Reject-> CANCELLED",
                "PENDING_PAYMENT -Expire-> EXPIRED",
                "PENDING_PAYMENT -Cancel-> CANCELLED",
                "PAID -Cancel-> CANCELLED",
                "PAID -Begin-> PROVISIONING",
                "PAID -Fail-> FAILED",
                "PROVISIONING -Cancel-> CANCELLED",
                "PROVISIONING -Deliver-> ACTIVE",
                "PROVISIONING -Fail-> FAILED",
                "FAILED -Refund-> REFUNDED",
            ]
        );
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        assert_eq!(backoff(0, 0.0), Duration::milliseconds(250));
        assert_eq!(backoff(3, 1.0), Duration::milliseconds(4000));
        assert_eq!(backoff(100, 1.0), Duration::milliseconds(60_000));
        assert_eq!(backoff(-5, 9.0), Duration::milliseconds(500));
    }
}
