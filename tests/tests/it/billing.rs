//! Who invoices are made out to, and that real money orders nothing without it. [B4 I6]

use prost_types::FieldMask;
use sewa_sdk::sewa::billing::v1::{
    BillingProfile, GetBillingProfileRequest, TaxNumberKind, UpdateBillingProfileRequest,
};
use sewa_tests::{Actor, World, reason_of, refused};

async fn profile(who: &Actor, account_id: &str) -> BillingProfile {
    let request = GetBillingProfileRequest {
        account_id: account_id.to_owned(),
    };
    let reply = who.billing().get_billing_profile(request).await.unwrap();
    reply.into_inner().billing_profile.unwrap()
}

fn update(profile: BillingProfile, paths: &[&str]) -> UpdateBillingProfileRequest {
    UpdateBillingProfileRequest {
        billing_profile: Some(profile),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    }
}

#[tokio::test]
async fn real_money_orders_nothing_before_the_profile_is_complete() {
    let world = World::new().await;
    let budi = world.nameless_reseller().await;
    assert!(!profile(&budi, "").await.complete);
    let draft = budi.draft("web-1").await;
    let error = refused(budi.place(draft.clone()).await);
    assert_eq!(error.reason().unwrap().0, "BILLING_PROFILE_INCOMPLETE");
    let named = budi.name_buyer().await;
    assert!(named.complete);
    assert_eq!(
        named.tax_number, "0098765432109000",
        "digits alone, and 16 of them"
    );
    // Now it is the money that lacks.
    let error = refused(budi.place(draft).await);
    assert_eq!(error.reason().unwrap().0, "INSUFFICIENT_BALANCE");
    let finance = world.staff("finance").await;
    assert_eq!(profile(&finance, &budi.account_id).await, named);
}

#[tokio::test]
async fn tax_numbers_are_looked_at_and_only_what_is_named_changes() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = budi.name_buyer().await;
    for (kind, number) in [
        (TaxNumberKind::Npwp, "12345"),
        (TaxNumberKind::Nik, "3174057201900001"),
        (TaxNumberKind::Unspecified, "0098765432109000"),
        (TaxNumberKind::Nik, ""),
    ] {
        let wrong = BillingProfile {
            tax_number_kind: kind.into(),
            tax_number: number.to_owned(),
            ..Default::default()
        };
        let request = update(wrong, &["tax_number_kind", "tax_number"]);
        let refused = budi.billing().update_billing_profile(request).await;
        assert_eq!(
            reason_of(refused),
            "TAX_NUMBER_MALFORMED",
            "{kind:?} {number}"
        );
    }
    let request = update(BillingProfile::default(), &["complete"]);
    let refused = budi.billing().update_billing_profile(request).await;
    assert_eq!(reason_of(refused), "FIELD_NOT_WRITABLE");
    assert_eq!(profile(&budi, "").await, before);
    let nik = BillingProfile {
        tax_number_kind: TaxNumberKind::Nik.into(),
        tax_number: "3174 0552 0190 0001".to_owned(),
        name: "not named by the mask".to_owned(),
        ..Default::default()
    };
    let request = update(nik, &["tax_number_kind", "tax_number"]);
    budi.billing()
        .update_billing_profile(request)
        .await
        .unwrap();
    let after = profile(&budi, "").await;
    assert_eq!(after.tax_number, "3174055201900001");
    assert_eq!(after.name, before.name);
}
