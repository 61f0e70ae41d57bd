//! How long somebody who has not paid is waited for. [L2]

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::lifecycle::v1::scheduled_step::Kind as StepKind;
use sewa_sdk::sewa::lifecycle::v1::{ListPoliciesRequest, SetAccountPolicyRequest};
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_tests::actor::rupiah;
use sewa_tests::{NOBODYS_ID, World, reason_of};

use crate::lifecycle::schedule;

#[tokio::test]
async fn an_invoiced_account_has_days_and_a_daily_prepaid_one_has_none() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    budi.take_a_clock().await;
    let policies = budi
        .lifecycle()
        .list_policies(ListPoliciesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .policies;
    let rule = |code: &str, period: BillingPeriod| {
        let policy = policies.iter().find(|policy| policy.code == code).unwrap();
        let rule = policy
            .rules
            .iter()
            .find(|rule| rule.period() == period)
            .unwrap();
        (rule.suspend_after_hours, rule.terminate_after_hours)
    };
    assert_eq!(
        [
            BillingPeriod::Day,
            BillingPeriod::Month,
            BillingPeriod::Year
        ]
        .map(|p| rule("prepaid", p).0),
        [0, 24, 72]
    );
    assert_eq!(
        [
            BillingPeriod::Day,
            BillingPeriod::Month,
            BillingPeriod::Year
        ]
        .map(|p| rule("invoiced", p)),
        [(72, 360); 3]
    );

    let daily = OrderDraft {
        period: BillingPeriod::Day.into(),
        ..budi.draft("daily").await
    };
    budi.deposit(10_000 + rupiah(budi.preview(&daily).await.unwrap().total.as_ref()))
        .await;
    let prepaid = budi.place(daily.clone()).await.unwrap();
    budi.wait_active(&prepaid).await;
    let choose = |account: &str, policy: &str| SetAccountPolicyRequest {
        account_id: account.to_owned(),
        policy: policy.to_owned(),
    };
    finance
        .lifecycle()
        .set_account_policy(choose(&budi.account_id, "invoiced"))
        .await
        .unwrap();
    assert_eq!(
        reason_of(
            finance
                .lifecycle()
                .set_account_policy(choose(&budi.account_id, "generous"))
                .await
        ),
        "POLICY_NOT_FOUND"
    );
    assert_eq!(
        reason_of(
            finance
                .lifecycle()
                .set_account_policy(choose(NOBODYS_ID, "invoiced"))
                .await
        ),
        "ACCOUNT_NOT_FOUND"
    );
    budi.deposit(10_000 + rupiah(budi.preview(&daily).await.unwrap().total.as_ref()))
        .await;
    let invoiced = budi
        .place(OrderDraft {
            hostname: "invoiced".to_owned(),
            ..daily
        })
        .await
        .unwrap();
    budi.wait_active(&invoiced).await;
    // What is left in the wallet pays for nothing.
    let (left, _) = budi.balance().await;
    let steps = schedule(&budi, 30).await;
    let of = |id: &str, kind: StepKind| {
        let step = steps.iter().find(|step| {
            step.instance_id == id
                && step.kind() == kind
                && (kind != StepKind::Renew || !step.covered)
        });
        step.unwrap_or_else(|| panic!("{kind:?} of {id} with {left} left: {steps:?}"))
            .step_time
            .unwrap()
            .seconds
    };
    for (id, suspend, terminate) in [
        (&prepaid.order.instance_id, 0, 72),
        (&invoiced.order.instance_id, 72, 360),
    ] {
        let due = of(id, StepKind::Renew);
        assert_eq!(
            (
                of(id, StepKind::Suspend) - due,
                of(id, StepKind::Terminate) - due
            ),
            (suspend * 3600, terminate * 3600)
        );
    }
}
