//! Lifecycle: model to contract.

use sewa_sdk::sewa::lifecycle::v1 as proto;

use crate::base::id::InstanceId;
use crate::base::time;
use crate::service::lifecycle::change::Priced;
use crate::service::lifecycle::model::{Charge, Policy, State, Step, Subscription};
use crate::service::lifecycle::preview::Planned;
use crate::service::lifecycle::store::Renewal;

/// A subscription.
pub fn subscription(s: &Subscription) -> proto::Subscription {
    let state = match s.state {
        State::Active => proto::subscription::State::Active,
        State::Grace => proto::subscription::State::Grace,
        State::Suspended => proto::subscription::State::Suspended,
        State::Ended => proto::subscription::State::Ended,
    };
    proto::Subscription {
        instance_id: s.instance.to_string(),
        state: state as i32,
        price: Some(s.price.to_proto()),
        period: s.period as i32,
        paid_until: Some(time::to_proto(s.paid_until)),
        auto_renew: s.auto_renew,
        policy: s.policy.clone(),
        next_step: s.next.map_or("", |(step, _)| step.as_str()).to_owned(),
        next_step_time: s.next.map(|(_, at)| time::to_proto(at)),
        prepaid: s.renewal_hold.is_some(),
    }
}

/// A renewal that was made or attempted.
pub fn renewal(r: &Renewal) -> proto::Renewal {
    let state = match r.state.as_str() {
        "HELD" => proto::renewal::State::Held,
        "PAID" => proto::renewal::State::Paid,
        "UNPAID" => proto::renewal::State::Unpaid,
        "RELEASED" => proto::renewal::State::Released,
        _ => proto::renewal::State::Unspecified,
    };
    let mut shown = charge(r.instance, &r.charge, state);
    shown.id = r.id.to_string();
    shown.create_time = Some(time::to_proto(r.created_at));
    shown
}

/// A renewal that was only priced.
pub fn charge(instance: InstanceId, c: &Charge, state: proto::renewal::State) -> proto::Renewal {
    proto::Renewal {
        id: String::new(),
        instance_id: instance.to_string(),
        period_number: c.number,
        period_start_time: Some(time::to_proto(c.starts_at)),
        period_end_time: Some(time::to_proto(c.ends_at)),
        price: Some(c.price.to_proto()),
        tax: Some(c.tax.to_proto()),
        total: Some(c.total.to_proto()),
        state: state as i32,
        create_time: None,
    }
}

/// A change of plan and its price.
pub fn plan_change(p: &Priced<'_>) -> proto::PlanChange {
    proto::PlanChange {
        instance_id: p.instance.to_string(),
        from_plan_id: p.from.to_string(),
        plan_id: p.plan.id.to_string(),
        remaining_days: p.proration.remaining_days,
        period_days: p.proration.period_days,
        net: Some(p.proration.net.to_proto()),
        tax: Some(p.proration.tax.to_proto()),
        total: Some(p.proration.total().to_proto()),
        price: Some(p.price.to_proto()),
        period: p.period as i32,
        next_charge: Some(p.next_charge.to_proto()),
    }
}

/// One thing to come.
pub fn planned(p: &Planned) -> proto::ScheduledStep {
    let kind = match p.step {
        Step::Renew => proto::scheduled_step::Kind::Renew,
        Step::Suspend => proto::scheduled_step::Kind::Suspend,
        Step::Terminate => proto::scheduled_step::Kind::Terminate,
    };
    proto::ScheduledStep {
        instance_id: p.instance.to_string(),
        kind: kind as i32,
        step_time: Some(time::to_proto(p.at)),
        amount: Some(p.amount.to_proto()),
        covered: p.covered,
    }
}

/// A policy.
pub fn policy(p: &Policy) -> proto::Policy {
    let rule = |r: &crate::service::lifecycle::model::Rule| proto::policy::Rule {
        period: r.period as i32,
        suspend_after_hours: r.suspend_after_hours,
        terminate_after_hours: r.terminate_after_hours,
    };
    proto::Policy {
        code: p.code.to_owned(),
        display_name: p.display_name.to_owned(),
        rules: p.rules.iter().map(rule).collect(),
    }
}
