//! Orders: contract to model and back.

use std::collections::BTreeMap;

use sewa_sdk::sewa::order::v1 as proto;
use tonic::Status;

use crate::base::id::{ImageId, PlanId, RegionId};
use crate::base::money::Rupiah;
use crate::base::time;
use crate::service::catalog::model::Snapshot;
use crate::service::instance::model::NewInstance;
use crate::service::order::error::Error;
use crate::service::order::model::{Draft, Move, Order, Payment, State};
use crate::service::order::quote::Quote;
use crate::service::wallet;
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::model::Balance;

/// Reads a draft.
///
/// # Errors
/// INVALID_REQUEST for an id that is no UUID; the edge has checked the rest.
pub fn draft(draft: Option<proto::OrderDraft>) -> Result<Draft, Status> {
    let draft = draft.unwrap_or_default();
    Ok(Draft {
        plan: PlanId::parse("draft.plan_id", &draft.plan_id)?,
        region: RegionId::parse("draft.region_id", &draft.region_id)?,
        image: ImageId::parse("draft.image_id", &draft.image_id)?,
        period: draft.period(),
        hostname: draft.hostname,
        auto_renew: draft.auto_renew,
        labels: draft.labels.into_iter().collect::<BTreeMap<_, _>>(),
        coupon_code: draft.coupon_code,
    })
}

/// The machine an order makes.
///
/// # Errors
/// If the catalogue no longer knows what was sold. It keeps archived plans, so that means a fault.
pub fn new_instance(catalogue: &Snapshot, order: &Order) -> Result<NewInstance, Error> {
    let draft = &order.draft;
    let plan = catalogue
        .plan(draft.plan)
        .ok_or(Error::PlanUnavailable(draft.plan))?;
    let region = catalogue
        .region(draft.region)
        .ok_or(Error::RegionUnavailable(draft.region))?;
    let image = catalogue
        .image(draft.image)
        .ok_or(Error::ImageUnavailable(draft.image))?;
    Ok(NewInstance {
        account: order.account,
        id: order.instance,
        order: order.id,
        provider: plan.provider.clone(),
        provider_size: plan.provider_size.clone(),
        plan: plan.id,
        vcpus: plan.vcpus,
        memory_mib: plan.memory_mib,
        disk_gib: plan.disk_gib,
        region: draft.region,
        region_code: region.provider_region.clone(),
        image: draft.image,
        image_code: image.provider_image.clone(),
        hostname: draft.hostname.clone(),
        labels: draft.labels.clone(),
        price: order.quote.renewal_price(),
        period: draft.period,
        created_at: order.created_at,
    })
}

/// A price, line by line.
pub fn quote(q: &Quote) -> proto::Quote {
    let line =
        |kind: proto::quote::line::Kind, description: &str, amount: Rupiah| proto::quote::Line {
            kind: kind as i32,
            description: description.to_owned(),
            amount: Some(amount.to_proto()),
        };
    use proto::quote::line::Kind;
    let mut lines = vec![line(Kind::Base, &q.plan_name, q.list_price())];
    if let Some(reduction) = &q.promotion {
        lines.push(line(
            Kind::Promotion,
            &reduction.display_name,
            reduction.amount.negated(),
        ));
    }
    if let Some(discount) = &q.discount {
        lines.push(line(
            Kind::Coupon,
            &discount.code,
            discount.amount.negated(),
        ));
    }
    lines.push(line(Kind::Tax, "PPN 12% x 11/12", q.tax));
    proto::Quote {
        lines,
        subtotal: Some(q.subtotal.to_proto()),
        tax: Some(q.tax.to_proto()),
        total: Some(q.total.to_proto()),
        expire_time: q.until.map(time::to_proto),
        wallet: None,
    }
}

/// What a wallet pays of a total, as the ledger will take it.
pub fn wallet_share(total: Rupiah, balance: &Balance) -> proto::WalletShare {
    let promo = total.min(balance.promo);
    let available = Rupiah(total.0 - promo.0).min(balance.available);
    proto::WalletShare {
        promo: Some(promo.to_proto()),
        available: Some(available.to_proto()),
        missing: Some(Rupiah(total.0 - promo.0 - available.0).to_proto()),
    }
}

/// An order; with its history only where asked.
pub fn order(o: &Order, with_history: bool) -> proto::Order {
    let waits = o.state == State::PendingPayment
        || o.hold.is_none() && matches!(o.state, State::Expired | State::Cancelled);
    proto::Order {
        id: o.id.to_string(),
        account_id: o.account.to_string(),
        state: state(o.state) as i32,
        draft: Some(proto::OrderDraft {
            plan_id: o.draft.plan.to_string(),
            region_id: o.draft.region.to_string(),
            image_id: o.draft.image.to_string(),
            period: o.draft.period as i32,
            hostname: o.draft.hostname.clone(),
            auto_renew: o.draft.auto_renew,
            labels: o.draft.labels.clone().into_iter().collect(),
            coupon_code: o.draft.coupon_code.clone(),
        }),
        quote: Some(quote(&o.quote)),
        payment: match o.payment {
            Payment::Wallet => proto::Payment::Wallet,
            Payment::StaffApproval => proto::Payment::StaffApproval,
            Payment::Gateway => proto::Payment::Gateway,
        } as i32,
        instance_id: o.instance.to_string(),
        operation_id: if waits {
            String::new()
        } else {
            o.operation.to_string()
        },
        failure: o
            .failure
            .as_ref()
            .map(|(reason, message)| proto::OrderFailure {
                reason: reason.clone(),
                message: message.clone(),
            }),
        history: if with_history {
            o.history.iter().map(moved).collect()
        } else {
            Vec::new()
        },
        client_reference: o.client_reference.clone().unwrap_or_default(),
        create_time: Some(time::to_proto(o.created_at)),
        update_time: Some(time::to_proto(o.updated_at)),
        attempts: o.attempts,
        last_error: String::new(),
        next_attempt_time: None,
        deadline_time: None,
        deposit_id: o.deposit.map(|d| d.to_string()).unwrap_or_default(),
        deposit: None,
    }
}

/// An order as [`order`] or [`order_for_staff`] shows it, with the deposit by which it is paid.
pub fn with_deposit(order: proto::Order, deposit: Option<&Deposit>) -> proto::Order {
    proto::Order {
        deposit: deposit.map(wallet::convert::deposit),
        ..order
    }
}

/// An order as staff see it.
pub fn order_for_staff(o: &Order, with_history: bool) -> proto::Order {
    proto::Order {
        last_error: o.last_error.clone().unwrap_or_default(),
        next_attempt_time: is_worked_on(o).then(|| time::to_proto(o.next_attempt_at)),
        deadline_time: is_worked_on(o).then(|| time::to_proto(o.deadline_at)),
        ..order(o, with_history)
    }
}

fn is_worked_on(o: &Order) -> bool {
    matches!(o.state, State::Paid | State::Provisioning)
}

fn moved(m: &Move) -> proto::OrderMove {
    proto::OrderMove {
        from: m.from.map_or(proto::order::State::Unspecified, state) as i32,
        to: state(m.to) as i32,
        actor: m.actor.clone(),
        reason: m.reason.clone(),
        move_time: Some(time::to_proto(m.at)),
    }
}

fn state(state: State) -> proto::order::State {
    match state {
        State::PendingPayment => proto::order::State::PendingPayment,
        State::Paid => proto::order::State::Paid,
        State::Provisioning => proto::order::State::Provisioning,
        State::Active => proto::order::State::Active,
        State::Failed => proto::order::State::Failed,
        State::Refunded => proto::order::State::Refunded,
        State::Cancelled => proto::order::State::Cancelled,
        State::Expired => proto::order::State::Expired,
    }
}

/// The stored form of the state a filter asks for; empty for all.
pub fn state_filter(number: i32) -> &'static str {
    State::ALL
        .into_iter()
        .find(|s| state(*s) as i32 == number)
        .map_or("", State::as_str)
}
