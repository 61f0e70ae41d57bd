//! What staff may do with promotions of plans, and what they may not. [K3]

use sewa_sdk::sewa::catalog::v1::{CreatePlanPromotionRequest, PlanPromotion};
use sewa_tests::{NOBODYS_ID, World, refused};

use crate::plan_promotions::{fixed, make, offers, update};

#[tokio::test]
async fn staff_make_switch_and_change_promotions_of_plans() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    let draft = budi.draft("web-1").await;
    let request = CreatePlanPromotionRequest {
        plan_ids: vec![draft.plan_id.clone(), draft.plan_id.clone()],
        ..fixed("Raya", 5_000)
    };
    let made = make(&business, request).await;
    assert_eq!(made.plan_ids, [draft.plan_id.as_str()]);
    assert_eq!(offers(&budi, &draft).await.len(), 1);
    let new = PlanPromotion {
        id: made.id.clone(),
        ..Default::default()
    };
    let renamed = PlanPromotion {
        display_name: "Hari Raya".to_owned(),
        ..new.clone()
    };
    let changed = update(&business, renamed, "display_name").await.unwrap();
    let expected = PlanPromotion {
        display_name: "Hari Raya".to_owned(),
        ..made.clone()
    };
    assert_eq!(changed, expected);
    let shown = offers(&budi, &draft).await;
    assert_eq!(shown[0].display_name, "Hari Raya");
    let off = update(&business, new.clone(), "enabled").await.unwrap();
    assert!(!off.enabled);
    assert!(offers(&budi, &draft).await.is_empty());
    let refusal = async |new, path| refused(update(&business, new, path).await);
    assert!(refusal(new.clone(), "fixed").await.is("FIELD_NOT_WRITABLE"));
    assert!(
        refusal(new.clone(), "display_name")
            .await
            .is("INVALID_REQUEST")
    );
    let ended = PlanPromotion {
        end_time: made.start_time,
        ..new.clone()
    };
    assert!(refusal(ended, "end_time").await.is("INVALID_REQUEST"));
    let nothing = PlanPromotion {
        id: NOBODYS_ID.to_owned(),
        ..new
    };
    let error = refusal(nothing, "enabled").await;
    assert!(error.is("PLAN_PROMOTION_NOT_FOUND"), "{error:?}");
    let nowhere = CreatePlanPromotionRequest {
        plan_ids: vec![NOBODYS_ID.to_owned()],
        ..fixed("Nowhere", 1)
    };
    let error = refused(business.catalog().create_plan_promotion(nowhere).await);
    assert!(error.is("PLAN_NOT_FOUND"), "{error:?}");
    let backwards = CreatePlanPromotionRequest {
        start_time: made.start_time,
        end_time: made.start_time,
        ..fixed("Back", 1)
    };
    let error = refused(business.catalog().create_plan_promotion(backwards).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
}
