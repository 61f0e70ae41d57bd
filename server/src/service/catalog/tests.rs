//! What only the database decides: whose code it is, which prices can still change, and when a copy is read again.

use chrono::Duration;
use sewa_sdk::sewa::api::v1::BillingPeriod;

use super::*;
use crate::base::clock::Clock;
use crate::base::db::PgPool;
use crate::base::money::Rupiah;
use crate::provider::compute::simulator;

fn now() -> DateTime<Utc> {
    Clock.now()
}

fn first_plan(catalogue: &Snapshot) -> Plan {
    catalogue
        .plans_by_rank(now())
        .first()
        .map(|(_, plan)| (*plan).clone())
        .expect("a plan")
}

fn month(plan: &Plan, amount: i64, effective_at: DateTime<Utc>) -> Version {
    Version {
        plan: plan.id,
        period: BillingPeriod::Month,
        amount: Rupiah(amount),
        available: true,
        effective_at,
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn loading_a_catalogue_again_changes_nothing_that_staff_set(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cache = Cache::default();
    assert!(
        cache
            .snapshot(&db)
            .await
            .expect("reads")
            .plans_by_rank(now())
            .is_empty()
    );
    seed(&db, DEFAULT_CATALOGUE).await.expect("loads");
    cache.forget();
    let loaded = cache.snapshot(&db).await.expect("reads");
    let plan = first_plan(&loaded);
    let price = loaded
        .price(plan.id, BillingPeriod::Month, now())
        .expect("a price");
    assert!(price.available && loaded.sells(&plan, now()));
    assert_eq!(
        loaded
            .price(plan.id, BillingPeriod::Hour, now())
            .map(|p| p.available),
        Some(false)
    );
    assert_eq!((loaded.images().len(), loaded.regions().len()), (6, 9));

    let mut connection = db.acquire().await.expect("a connection");
    let renamed = Changes {
        fields: &["display_name"],
        display_name: "Hemat".to_owned(),
        available: false,
    };
    update_plan(&mut connection, plan.clone(), renamed)
        .await
        .expect("renames");
    let t = now();
    set_price(&mut connection, &month(&plan, 1, t), t)
        .await
        .expect("sets a price");
    sqlx::query!("update regions set available = false")
        .execute(&db)
        .await
        .expect("fills the regions");
    seed(&db, DEFAULT_CATALOGUE).await.expect("loads again");
    cache.forget();
    let again = cache.snapshot(&db).await.expect("reads");
    let kept = again.plan(plan.id).expect("the plan");
    assert_eq!(
        (kept.display_name.as_str(), kept.available),
        ("Hemat", true)
    );
    assert_eq!(
        again
            .price(plan.id, BillingPeriod::Month, now())
            .map(|p| p.amount),
        Some(Rupiah(1))
    );
    assert!(
        again.regions().iter().all(|region| region.available),
        "regions are as the file says"
    );

    let version = again.version();
    seed(&db, DEFAULT_CATALOGUE)
        .await
        .expect("loads a third time");
    assert_eq!(
        store::get_version(&mut connection).await.expect("reads"),
        version,
        "nothing changed, so no server reads again"
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_price_that_has_begun_is_never_replaced(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    seed(&db, DEFAULT_CATALOGUE).await.expect("loads");
    let plan = first_plan(&Cache::default().snapshot(&db).await.expect("reads"));
    let mut connection = db.acquire().await.expect("a connection");
    let (t, later) = (now(), now() + Duration::days(1));
    let past = set_price(
        &mut connection,
        &month(&plan, 1, t - Duration::seconds(1)),
        t,
    )
    .await;
    assert!(matches!(past, Err(Error::PriceInThePast)));
    set_price(&mut connection, &month(&plan, 2, later), t)
        .await
        .expect("sets a price to come");
    set_price(&mut connection, &month(&plan, 3, later), t)
        .await
        .expect("corrects it");
    let begun = set_price(&mut connection, &month(&plan, 4, later), later).await;
    assert!(
        matches!(begun, Err(Error::PriceInThePast)),
        "it begins at this very moment"
    );
    let catalogue = Cache::default().snapshot(&db).await.expect("reads");
    let present = catalogue
        .price(plan.id, BillingPeriod::Month, t)
        .expect("a price");
    assert_eq!(present.next_change, Some(later));
    assert_eq!(
        catalogue
            .price(plan.id, BillingPeriod::Month, later)
            .map(|p| p.amount),
        Some(Rupiah(3))
    );
    let unknown = Plan {
        id: PlanId::new(),
        ..plan
    };
    assert!(matches!(
        set_price(&mut connection, &month(&unknown, 1, later), t).await,
        Err(Error::PlanNotFound)
    ));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_code_belongs_to_one_plan_and_a_provider_must_exist(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    seed(&db, DEFAULT_CATALOGUE).await.expect("loads");
    let plan = first_plan(&Cache::default().snapshot(&db).await.expect("reads"));
    let providers = Providers::new(simulator::clouds(&db, &Clock, 0));
    let mut connection = db.acquire().await.expect("a connection");
    let twin = Plan {
        id: PlanId::new(),
        ..plan.clone()
    };
    assert!(matches!(
        create_plan(&mut connection, &providers, &twin).await,
        Err(Error::PlanCodeTaken)
    ));
    let stray = Plan {
        code: "new".to_owned(),
        provider: "nobody".to_owned(),
        ..twin.clone()
    };
    assert!(
        matches!(create_plan(&mut connection, &providers, &stray).await, Err(Error::UnknownProvider { provider }) if provider == "nobody")
    );
    create_plan(
        &mut connection,
        &providers,
        &Plan {
            code: "new".to_owned(),
            ..twin
        },
    )
    .await
    .expect("adds a plan");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_server_sees_its_own_change_at_once_and_another_s_within_a_second(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    seed(&db, DEFAULT_CATALOGUE).await.expect("loads");
    let (here, there) = (Cache::default(), Cache::default());
    let plan = first_plan(&here.snapshot(&db).await.expect("reads"));
    there.snapshot(&db).await.expect("reads");
    archive_plan(
        &mut db.acquire().await.expect("a connection"),
        plan.clone(),
        now(),
    )
    .await
    .expect("archives");
    here.forget();
    let archived = |catalogue: &Snapshot| catalogue.plan(plan.id).is_some_and(|p| p.archived);
    assert!(archived(&here.snapshot(&db).await.expect("reads")));
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    while !archived(&there.snapshot(&db).await.expect("reads")) {
        assert!(
            tokio::time::Instant::now() < until,
            "the other server still sells an archived plan"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // With the database away the copy goes on serving.
    db.close().await;
    here.forget();
    assert!(archived(&here.snapshot(&db).await.expect("the old copy")));
}
