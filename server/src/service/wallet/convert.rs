//! Wallet: model to contract.

use sewa_sdk::sewa::wallet::v1 as proto;

use crate::base::id::AccountId;
use crate::base::money::Rupiah;
use crate::base::time;
use crate::provider::payment::{Channel, Instruction};
use crate::service::promotion::model::{Gift, Given};
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::model::{Balance, Journal};
use crate::service::wallet::payment::Payment;
use crate::service::wallet::store::Listed as ListedJournal;
use crate::service::wallet::store::queue::{Listed, Waiting};

/// The balances.
pub fn wallet(
    account: AccountId,
    balance: &Balance,
    updated_at: Option<chrono::DateTime<chrono::Utc>>,
) -> proto::Wallet {
    proto::Wallet {
        account_id: account.to_string(),
        available: Some(balance.available.to_proto()),
        held: Some(balance.held.to_proto()),
        promo: Some(balance.promo.to_proto()),
        withdrawable: Some(balance.withdrawable.to_proto()),
        update_time: updated_at.map(time::to_proto),
        freeze_time: balance.frozen_at.map(time::to_proto),
    }
}

/// The balances before a journal of these moved.
pub fn before(j: &Journal) -> proto::Wallet {
    let less = |after: Rupiah, moved: Rupiah| Rupiah(after.0.saturating_sub(moved.0)).to_proto();
    proto::Wallet {
        account_id: j.account.to_string(),
        available: Some(less(j.available_after, j.available)),
        held: Some(less(j.held_after, j.held)),
        ..proto::Wallet::default()
    }
}

/// A deposit, without what only a single one shows.
pub fn deposit(d: &Deposit) -> proto::Deposit {
    proto::Deposit {
        id: d.id.to_string(),
        amount: Some(d.amount.to_proto()),
        method: i32::from(d.method),
        state: state(d.state) as i32,
        pay_url: d.pay_url.clone(),
        expire_time: Some(time::to_proto(d.expires_at)),
        create_time: Some(time::to_proto(d.created_at)),
        paid_time: d
            .closed_at
            .filter(|_| d.state == DepositState::Paid)
            .map(time::to_proto),
        client_reference: d.client_reference.clone().unwrap_or_default(),
        channel: d.channel.clone(),
        payable: d.payable.map(Rupiah::to_proto),
        fee: d.fee.map(Rupiah::to_proto),
        pay_code: d.pay_code.clone(),
        qr_string: d.qr_string.clone(),
        instructions: d.instructions.iter().map(instruction).collect(),
        gateway_reference: d.gateway_ref.clone(),
        failure_reason: d.failure.clone(),
        payments: Vec::new(),
        confirmations_needed: 0,
        order_id: d.order.map(|o| o.to_string()).unwrap_or_default(),
        bonuses: Vec::new(),
    }
}

/// A deposit with its payments. `half_confirmed` are transfers that one person has confirmed and that need another.
pub fn whole_deposit(
    d: &Deposit,
    payments: &[Payment],
    half_confirmed: i64,
    given: &[Given],
) -> proto::Deposit {
    // What others got by it is their business.
    let own = given.iter().filter(|given| given.account == d.account);
    proto::Deposit {
        bonuses: own.map(bonus).collect(),
        payments: payments.iter().map(payment).collect(),
        confirmations_needed: i32::try_from(half_confirmed).unwrap_or(i32::MAX),
        ..deposit(d)
    }
}

/// A bank transfer that waits for staff, with what one person has seen of it.
pub fn deposit_to_confirm(
    listed: &Listed,
    seen: &[Waiting],
    second_person_needed: bool,
) -> proto::DepositToConfirm {
    let own = seen.iter().filter(|w| w.deposit == listed.deposit.id);
    proto::DepositToConfirm {
        deposit: Some(deposit(&listed.deposit)),
        account_id: listed.deposit.account.to_string(),
        account_name: listed.account_name.clone(),
        second_person_needed,
        confirmations: own
            .map(|w| proto::TransferConfirmation {
                bank_reference: w.bank_reference.clone(),
                received: Some(w.received.to_proto()),
                confirmed_by: w.principal.to_string(),
                confirm_time: Some(time::to_proto(w.confirmed_at)),
            })
            .collect(),
    }
}

fn bonus(g: &Given) -> proto::DepositBonus {
    proto::DepositBonus {
        promotion_id: g.promotion.to_string(),
        display_name: g.display_name.clone(),
        kind: i32::from(g.kind),
        amount: Some(g.amount.to_proto()),
        taken_back: g.revoked_at.map(|_| g.taken.to_proto()),
    }
}

/// What a deposit would be given.
pub fn expected_bonus(g: &Gift) -> proto::DepositBonus {
    proto::DepositBonus {
        promotion_id: g.promotion.to_string(),
        display_name: g.display_name.clone(),
        kind: g.kind as i32,
        amount: Some(g.amount.to_proto()),
        taken_back: None,
    }
}

fn instruction(i: &Instruction) -> proto::PaymentInstruction {
    proto::PaymentInstruction {
        title: i.title.clone(),
        steps: i.steps.clone(),
    }
}

fn payment(p: &Payment) -> proto::Payment {
    proto::Payment {
        kind: i32::from(p.kind),
        paid: Some(p.paid.to_proto()),
        credited: Some(p.credited.to_proto()),
        gateway_reference: p.gateway_ref.clone(),
        create_time: Some(time::to_proto(p.recorded_at)),
    }
}

/// A way to pay, and what the payer pays on top, if that is known.
pub fn channel(
    method: proto::deposit::Method,
    c: &Channel,
    fee: Option<Rupiah>,
) -> proto::DepositChannel {
    proto::DepositChannel {
        method: method as i32,
        code: c.code.clone(),
        name: c.name.clone(),
        kind: c.kind as i32,
        available: c.active,
        minimum: c.minimum.map(Rupiah::to_proto),
        maximum: c.maximum.map(Rupiah::to_proto),
        fee_flat: c.fee_flat.map(Rupiah::to_proto),
        fee_percent: c.fee_percent.clone(),
        fee: fee.map(Rupiah::to_proto),
    }
}

/// The one way to pay of sandbox accounts.
pub fn sandbox_channel(has_amount: bool) -> proto::DepositChannel {
    proto::DepositChannel {
        method: proto::deposit::Method::Sandbox as i32,
        name: "Sandbox".to_owned(),
        kind: proto::deposit_channel::Kind::Sandbox as i32,
        available: true,
        fee_flat: Some(Rupiah::ZERO.to_proto()),
        fee_percent: "0".to_owned(),
        fee: has_amount.then(|| Rupiah::ZERO.to_proto()),
        ..proto::DepositChannel::default()
    }
}

const STATES: [(DepositState, proto::deposit::State); 6] = [
    (DepositState::Preparing, proto::deposit::State::Preparing),
    (DepositState::Pending, proto::deposit::State::Pending),
    (DepositState::Paid, proto::deposit::State::Paid),
    (DepositState::Expired, proto::deposit::State::Expired),
    (DepositState::Failed, proto::deposit::State::Failed),
    (DepositState::Reversed, proto::deposit::State::Reversed),
];

fn state(state: DepositState) -> proto::deposit::State {
    let found = STATES.iter().find(|(ours, _)| *ours == state);
    found.map(|(_, theirs)| *theirs).unwrap_or_default()
}

/// The state a filter asks for; `None` for all.
pub fn state_filter(number: i32) -> Option<DepositState> {
    let found = STATES.iter().find(|(_, theirs)| *theirs as i32 == number);
    found.map(|(ours, _)| *ours)
}

/// A journal as its owner sees it.
pub fn transaction(t: &ListedJournal) -> proto::Transaction {
    proto::Transaction {
        id: t.id.to_string(),
        kind: i32::from(t.kind),
        available_change: Some(t.available.to_proto()),
        held_change: Some(t.held.to_proto()),
        available_after: Some(t.available_after.to_proto()),
        held_after: Some(t.held_after.to_proto()),
        description: t.description.clone(),
        subject_id: if t.subject.is_nil() {
            String::new()
        } else {
            t.subject.to_string()
        },
        create_time: Some(time::to_proto(t.recorded_at)),
        tax: unless_zero(t.ppn_payable),
        promo_change: unless_zero(t.promo),
        withdrawable_change: unless_zero(t.withdrawable),
    }
}

fn unless_zero(amount: Rupiah) -> Option<sewa_sdk::money::Money> {
    Some(amount)
        .filter(|amount| *amount != Rupiah::ZERO)
        .map(Rupiah::to_proto)
}

/// A journal just written.
pub fn written(j: Journal, recorded_at: chrono::DateTime<chrono::Utc>) -> proto::Transaction {
    transaction(&ListedJournal {
        id: j.id,
        kind: j.kind as i16,
        subject: j.subject,
        description: j.description,
        available: j.available,
        held: j.held,
        promo: j.promo,
        withdrawable: j.withdrawable,
        ppn_payable: j.ppn_payable,
        available_after: j.available_after,
        held_after: j.held_after,
        recorded_at,
    })
}
