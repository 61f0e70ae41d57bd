//! Wallet: model to contract.

use sewa_sdk::sewa::wallet::v1 as proto;

use crate::base::id::AccountId;
use crate::base::money::Rupiah;
use crate::base::time;
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::model::{Balance, Journal};
use crate::service::wallet::store::Listed;

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

/// A deposit.
pub fn deposit(d: &Deposit) -> proto::Deposit {
    proto::Deposit {
        id: d.id.to_string(),
        amount: Some(d.amount.to_proto()),
        method: i32::from(d.method),
        state: state(d.state) as i32,
        pay_url: String::new(),
        expire_time: Some(time::to_proto(d.expires_at)),
        create_time: Some(time::to_proto(d.created_at)),
        paid_time: d
            .closed_at
            .filter(|_| d.state == DepositState::Paid)
            .map(time::to_proto),
        client_reference: d.client_reference.clone().unwrap_or_default(),
    }
}

fn state(state: DepositState) -> proto::deposit::State {
    match state {
        DepositState::Pending => proto::deposit::State::Pending,
        DepositState::Paid => proto::deposit::State::Paid,
        DepositState::Expired => proto::deposit::State::Expired,
        DepositState::Failed => proto::deposit::State::Failed,
    }
}

/// The state a filter asks for; `None` for all.
pub fn state_filter(number: i32) -> Option<DepositState> {
    match proto::deposit::State::try_from(number).unwrap_or_default() {
        proto::deposit::State::Unspecified => None,
        proto::deposit::State::Pending => Some(DepositState::Pending),
        proto::deposit::State::Paid => Some(DepositState::Paid),
        proto::deposit::State::Expired => Some(DepositState::Expired),
        proto::deposit::State::Failed => Some(DepositState::Failed),
    }
}

/// A journal as its owner sees it.
pub fn transaction(t: &Listed) -> proto::Transaction {
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
        tax: Some(t.ppn_payable)
            .filter(|tax| *tax != Rupiah::ZERO)
            .map(Rupiah::to_proto),
    }
}

/// A journal just written.
pub fn written(j: Journal, recorded_at: chrono::DateTime<chrono::Utc>) -> proto::Transaction {
    transaction(&Listed {
        id: j.id,
        kind: j.kind as i16,
        subject: j.subject,
        description: j.description,
        available: j.available,
        held: j.held,
        ppn_payable: j.ppn_payable,
        available_after: j.available_after,
        held_after: j.held_after,
        recorded_at,
    })
}
