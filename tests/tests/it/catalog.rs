//! What is for sale. [C1]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::catalog::v1::{
    ArchivePlanRequest, CreatePlanRequest, GetPlanRequest, ListImagesRequest,
    ListPlanPricesRequest, ListPlansRequest, ListRegionsRequest, Plan, SetPlanPriceRequest,
    UpdatePlanRequest,
};
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of, refused};

fn wish(code: &str) -> CreatePlanRequest {
    CreatePlanRequest {
        code: code.to_owned(),
        display_name: "VPS Hemat".to_owned(),
        vcpus: 2,
        memory_mib: 4096,
        disk_gib: 80,
        transfer_gib: 4000,
        backups: false,
        provider: "simulator".to_owned(),
        provider_size: "s-2vcpu-4gb".to_owned(),
    }
}

fn price(plan: &Plan, units: i64) -> SetPlanPriceRequest {
    SetPlanPriceRequest {
        plan_id: plan.id.clone(),
        period: BillingPeriod::Month.into(),
        amount: Some(Money::idr(units)),
        effective_time: None,
        available: true,
    }
}

async fn monthly_price(reader: &Actor, plan_id: &str) -> Option<i64> {
    let plan = reader
        .catalog()
        .get_plan(GetPlanRequest {
            plan_id: plan_id.to_owned(),
            sandbox: false,
        })
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    plan.prices
        .iter()
        .find(|price| price.period() == BillingPeriod::Month)
        .map(|price| rupiah(price.amount.as_ref()))
}

#[tokio::test]
async fn anybody_reads_plans_images_and_regions() {
    let world = World::new().await;
    let nobody = world
        .nobody()
        .service(sewa_sdk::sewa::catalog::v1::catalog_service_client::CatalogServiceClient::new);
    let plans = nobody
        .clone()
        .list_plans(ListPlansRequest::default())
        .await
        .unwrap()
        .into_inner()
        .plans;
    assert!(plans.len() >= 5);
    let month = |plan: &Plan| {
        plan.prices
            .iter()
            .find(|p| p.period() == BillingPeriod::Month)
            .map(|p| rupiah(p.amount.as_ref()))
    };
    assert!(plans.iter().map(month).is_sorted(), "cheapest month first");
    for plan in &plans {
        assert!(
            plan.available
                && !plan.archived
                && plan.vcpus > 0
                && plan.memory_mib > 0
                && plan.disk_gib > 0,
            "{plan:?}"
        );
    }
    let read = nobody
        .clone()
        .get_plan(GetPlanRequest {
            plan_id: plans[0].id.clone(),
            sandbox: false,
        })
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    assert_eq!(read, plans[0]);
    let images = nobody
        .clone()
        .list_images(ListImagesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .images;
    assert!(images.iter().any(|image| image.distribution == "Debian"));
    let regions = nobody
        .clone()
        .list_regions(ListRegionsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .regions;
    assert!(
        regions
            .iter()
            .any(|region| region.code == "sgp1" && region.country_code == "SG" && region.available)
    );
    assert_eq!(
        reason_of(
            nobody
                .clone()
                .get_plan(GetPlanRequest {
                    plan_id: NOBODYS_ID.to_owned(),
                    sandbox: false
                })
                .await
        ),
        "PLAN_NOT_FOUND"
    );
    let prices = ListPlanPricesRequest {
        plan_id: NOBODYS_ID.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        reason_of(nobody.clone().list_plan_prices(prices).await),
        "PLAN_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_plan_is_made_priced_renamed_and_archived() {
    let world = World::new().await;
    let (business, budi) = (world.staff("business").await, world.reseller().await);
    let plan = business
        .catalog()
        .create_plan(wish("vps-hemat"))
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    assert_eq!(
        reason_of(business.catalog().create_plan(wish("vps-hemat")).await),
        "PLAN_CODE_TAKEN"
    );
    let error = refused(
        business
            .catalog()
            .create_plan(CreatePlanRequest {
                provider: "nowhere".to_owned(),
                ..wish("vps-2")
            })
            .await,
    );
    assert!(
        error.is("UNKNOWN_PROVIDER") && error.metadata("provider") == Some("nowhere"),
        "{error:?}"
    );
    business
        .catalog()
        .set_plan_price(price(&plan, 79_000))
        .await
        .unwrap();

    let draft = eventually("the plan is for sale", || async {
        let mut draft = budi.draft("web-1").await;
        draft.plan_id = plan.id.clone();
        budi.preview(&draft).await.map(|_| draft)
    })
    .await;
    assert_eq!(
        rupiah(budi.preview(&draft).await.unwrap().subtotal.as_ref()),
        79_000
    );

    let mask = |paths: &[&str]| {
        Some(prost_types::FieldMask {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        })
    };
    let renamed = Plan {
        id: plan.id.clone(),
        display_name: "VPS Super".to_owned(),
        vcpus: 64,
        ..Default::default()
    };
    let update = UpdatePlanRequest {
        plan: Some(renamed.clone()),
        update_mask: mask(&["display_name"]),
    };
    let updated = business
        .catalog()
        .update_plan(update)
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    assert_eq!(
        (updated.display_name.as_str(), updated.vcpus),
        ("VPS Super", 2)
    );
    let error = refused(
        business
            .catalog()
            .update_plan(UpdatePlanRequest {
                plan: Some(renamed),
                update_mask: mask(&["vcpus"]),
            })
            .await,
    );
    assert!(
        error.is("FIELD_NOT_WRITABLE") && error.metadata("path") == Some("vcpus"),
        "{error:?}"
    );

    let archived = business
        .catalog()
        .archive_plan(ArchivePlanRequest {
            plan_id: plan.id.clone(),
        })
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    assert!(archived.archived);
    let error = eventually("the plan is no longer for sale", || async {
        match budi.preview(&draft).await {
            Ok(_) => Err("sold"),
            Err(error) => Ok(error),
        }
    })
    .await;
    assert!(
        error.is("PLAN_UNAVAILABLE") && error.metadata("plan_id") == Some(&*plan.id),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_concerns_no_plan_is_refused() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let nothing = Plan {
        id: NOBODYS_ID.to_owned(),
        display_name: "x".to_owned(),
        ..Default::default()
    };
    let update = UpdatePlanRequest {
        plan: Some(nothing.clone()),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
    };
    assert_eq!(
        reason_of(business.catalog().update_plan(update).await),
        "PLAN_NOT_FOUND"
    );
    assert_eq!(
        reason_of(
            business
                .catalog()
                .archive_plan(ArchivePlanRequest {
                    plan_id: NOBODYS_ID.to_owned()
                })
                .await
        ),
        "PLAN_NOT_FOUND"
    );
    assert_eq!(
        reason_of(
            business
                .catalog()
                .set_plan_price(price(&nothing, 1000))
                .await
        ),
        "PLAN_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_new_price_is_a_new_version_and_begins_when_it_says() {
    let world = World::new().await;
    let (business, budi) = (world.staff("business").await, world.reseller().await);
    let plan = budi.plan().await;
    let old = monthly_price(&budi, &plan.id).await.unwrap();
    let later = prost_types::Timestamp {
        seconds: chrono::Utc::now().timestamp() + 86_400,
        nanos: 0,
    };
    let coming = SetPlanPriceRequest {
        effective_time: Some(later),
        ..price(&plan, old + 5_000)
    };
    business.catalog().set_plan_price(coming).await.unwrap();
    let past = prost_types::Timestamp {
        seconds: later.seconds - 2 * 86_400,
        nanos: 0,
    };
    let in_the_past = SetPlanPriceRequest {
        effective_time: Some(past),
        ..price(&plan, 1)
    };
    assert_eq!(
        reason_of(business.catalog().set_plan_price(in_the_past).await),
        "PRICE_IN_THE_PAST"
    );
    assert_eq!(
        monthly_price(&budi, &plan.id).await,
        Some(old),
        "the coming price is not in force"
    );

    // A quote says until when it holds.
    let draft = budi.draft("web-1").await;
    eventually("the quote knows the coming change", || async {
        let quote = budi.preview(&draft).await.map_err(|e| e.to_string())?;
        if quote.expire_time == Some(later) {
            Ok(())
        } else {
            Err(format!("{:?}", quote.expire_time))
        }
    })
    .await;

    business
        .catalog()
        .set_plan_price(price(&plan, old + 1_000))
        .await
        .unwrap();
    eventually("the new price is in force", || async {
        let now = monthly_price(&budi, &plan.id).await;
        if now == Some(old + 1_000) {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    let request = ListPlanPricesRequest {
        plan_id: plan.id.clone(),
        page_size: 200,
        ..Default::default()
    };
    let prices = budi
        .catalog()
        .list_plan_prices(request)
        .await
        .unwrap()
        .into_inner()
        .prices;
    let monthly: Vec<i64> = prices
        .iter()
        .filter(|p| p.period() == BillingPeriod::Month)
        .map(|p| rupiah(p.amount.as_ref()))
        .collect();
    assert_eq!(
        monthly,
        [old + 5_000, old + 1_000, old],
        "newest first, nothing lost"
    );
}
