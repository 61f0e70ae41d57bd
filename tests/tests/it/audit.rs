//! What the audit trail says beyond who and when. [I10]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::identity::v1::ListAuditEntriesRequest;
use sewa_sdk::sewa::instance::v1::ShutdownInstanceRequest;
use sewa_sdk::sewa::lifecycle::v1::{SetAccountPolicyRequest, SetAutoRenewRequest};
use sewa_sdk::sewa::order::v1::CancelOrderRequest;
use sewa_sdk::sewa::wallet::v1::AdjustWalletRequest;
use sewa_tests::World;

use crate::keys::audit;

#[tokio::test]
async fn the_trail_shows_the_state_before_and_whose_things_staff_changed() {
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    budi.deposit(1_000_000).await;
    let machine = budi.running("web-1").await;
    let renewing = SetAutoRenewRequest {
        instance_id: machine.id.clone(),
        auto_renew: false,
    };
    budi.lifecycle().set_auto_renew(renewing).await.unwrap();
    let placed = budi.buy("web-2").await;
    let order_id = placed.order.id.clone();
    let cancelled = budi
        .orders()
        .cancel_order(CancelOrderRequest {
            order_id: order_id.clone(),
            ..Default::default()
        })
        .await
        .is_ok();
    let (finance, sysadmin) = (world.staff("finance").await, world.staff("sysadmin").await);
    let held = budi.balance().await;
    let adjust = AdjustWalletRequest {
        account_id: budi.account_id.clone(),
        amount: Some(Money::idr(5_000)),
        reason: "goodwill".to_owned(),
    };
    finance.wallet().adjust_wallet(adjust).await.unwrap();
    let policy = |policy: &str| SetAccountPolicyRequest {
        account_id: budi.account_id.clone(),
        policy: policy.to_owned(),
    };
    for code in ["invoiced", "prepaid"] {
        finance
            .lifecycle()
            .set_account_policy(policy(code))
            .await
            .unwrap();
    }
    let down = ShutdownInstanceRequest {
        instance_id: machine.id.clone(),
        ..Default::default()
    };
    sysadmin.instances().shutdown_instance(down).await.unwrap();

    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let renew = audit(&budi, "sewa.lifecycle.v1.LifecycleService/SetAutoRenew").await;
    assert_eq!(json(&renew[0].before_json)["autoRenew"], true, "{renew:?}");
    assert_eq!(renew[0].subject_account_id, "", "it is the caller's own");
    if cancelled {
        let cancel = audit(&budi, "sewa.order.v1.OrderService/CancelOrder").await;
        let was = json(&cancel[0].before_json);
        assert!(
            was["id"] == *order_id && was["state"] != "STATE_CANCELLED",
            "{was}"
        );
    }
    let about = async |account: &str, method: &str| {
        let request = ListAuditEntriesRequest {
            account_id: account.to_owned(),
            method: method.to_owned(),
            ..Default::default()
        };
        let mut identity = finance.identity();
        let listed = identity.list_audit_entries(request).await.unwrap();
        listed.into_inner().audit_entries
    };
    for (method, writes) in [
        ("sewa.wallet.v1.WalletService/AdjustWallet", 1),
        ("sewa.lifecycle.v1.LifecycleService/SetAccountPolicy", 2),
        ("sewa.instance.v1.InstanceService/ShutdownInstance", 1),
    ] {
        let found = about(&budi.account_id, method).await;
        assert_eq!(found.len(), writes, "{method}: {found:?}");
        for entry in &found {
            assert_eq!(
                (entry.account_id.as_str(), entry.subject_account_id.as_str()),
                ("", budi.account_id.as_str())
            );
        }
        assert!(about(&siti.account_id, method).await.is_empty());
        assert!(
            audit(&budi, method).await.is_empty(),
            "staff are not shown to customers"
        );
    }
    let adjusted = about(
        &budi.account_id,
        "sewa.wallet.v1.WalletService/AdjustWallet",
    )
    .await;
    let was = json(&adjusted[0].before_json);
    assert_eq!(was["available"]["units"], held.0.to_string(), "{was}");
    let policies = about(
        &budi.account_id,
        "sewa.lifecycle.v1.LifecycleService/SetAccountPolicy",
    );
    assert_eq!(json(&policies.await[0].before_json)["policy"], "invoiced");
}
