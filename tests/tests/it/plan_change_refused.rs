//! When plan and span cannot be changed, and what is said then. [O9]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::catalog::v1::{ArchivePlanRequest, SetPlanPriceRequest};
use sewa_sdk::sewa::instance::v1::Instance;
use sewa_sdk::sewa::lifecycle::v1::{
    ChangePeriodRequest, PreviewPeriodChangeRequest, RenewInstanceRequest,
};
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::wallet::v1::ProveLedgerRequest;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of, refused};

use crate::instance::{Verb, ask};
use crate::lifecycle::owner;
use crate::plan_change::{ELSEWHERE, FAST, FASTER, TINY, change, preview, sell};

async fn preview_period(
    owner: &Actor,
    instance_id: &str,
    period: BillingPeriod,
) -> Result<(), tonic::Status> {
    let request = PreviewPeriodChangeRequest {
        instance_id: instance_id.to_owned(),
        period: period.into(),
    };
    owner
        .lifecycle()
        .preview_period_change(request)
        .await
        .map(drop)
}

async fn change_period(
    owner: &Actor,
    instance_id: &str,
    period: BillingPeriod,
) -> Result<(), tonic::Status> {
    let request = ChangePeriodRequest {
        instance_id: instance_id.to_owned(),
        period: period.into(),
    };
    owner.lifecycle().change_period(request).await.map(drop)
}

/// All four calls give this reason.
async fn all_say(owner: &Actor, instance_id: &str, reason: &str) {
    let said = [
        reason_of(preview(owner, instance_id, FAST).await),
        reason_of(change(owner, instance_id, FAST).await),
        reason_of(preview_period(owner, instance_id, BillingPeriod::Year).await),
        reason_of(change_period(owner, instance_id, BillingPeriod::Year).await),
    ];
    assert_eq!(said, [reason; 4]);
}

/// A preview and the change itself say the same, and nothing is begun.
async fn both_say(owner: &Actor, machine: &Instance, plan: &str, reason: &str) -> sewa_sdk::Error {
    let first = refused(preview(owner, &machine.id, plan).await);
    assert!(first.is(reason), "{first:?}");
    let error = refused(change(owner, &machine.id, plan).await);
    assert!(error.is(reason), "{error:?}");
    assert_eq!(owner.instance(&machine.id).await.operation_id, "");
    error
}

#[tokio::test]
async fn what_a_plan_is_not_fit_for_is_refused_with_the_reason() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    sell(&world, &budi).await;
    for (plan, problem) in [
        (machine.plan_id.as_str(), "same_plan"),
        (TINY, "disk_smaller"),
        (ELSEWHERE, "other_provider"),
    ] {
        let error = both_say(&budi, &machine, plan, "PLAN_UNSUITABLE").await;
        assert_eq!(error.metadata("problem"), Some(problem));
    }
    both_say(&budi, &machine, NOBODYS_ID, "PLAN_UNAVAILABLE").await;
    // It takes no other image than those of its own cloud, so it is made from what there is.
    let poor = refused(change(&budi, &machine.id, FAST).await);
    assert!(poor.is("INSUFFICIENT_BALANCE"), "{poor:?}");
    assert!(poor.metadata("required").is_some());

    let business = world.staff("business").await;
    let request = SetPlanPriceRequest {
        plan_id: FAST.to_owned(),
        period: BillingPeriod::Month.into(),
        amount: Some(Money::idr(150_000)),
        effective_time: None,
        available: false,
    };
    business.catalog().set_plan_price(request).await.unwrap();
    eventually("the plan is not sold by the month", || async {
        match preview(&budi, &machine.id, FAST).await {
            Ok(change) => Err(change),
            Err(_) => Ok(()),
        }
    })
    .await;
    both_say(&budi, &machine, FAST, "PERIOD_UNAVAILABLE").await;
    let request = SetPlanPriceRequest {
        plan_id: machine.plan_id.clone(),
        period: BillingPeriod::Year.into(),
        amount: Some(Money::idr(830_000)),
        effective_time: None,
        available: false,
    };
    business.catalog().set_plan_price(request).await.unwrap();
    eventually("the plan is not sold by the year", || async {
        match preview_period(&budi, &machine.id, BillingPeriod::Year).await {
            Ok(()) => Err("it is"),
            Err(_) => Ok(()),
        }
    })
    .await;
    let year = BillingPeriod::Year;
    assert_eq!(
        [
            reason_of(preview_period(&budi, &machine.id, year).await),
            reason_of(change_period(&budi, &machine.id, year).await)
        ],
        ["PERIOD_UNAVAILABLE"; 2]
    );
    let request = ArchivePlanRequest {
        plan_id: machine.plan_id.clone(),
    };
    business.catalog().archive_plan(request).await.unwrap();
    eventually("the plan is archived", || async {
        let day = BillingPeriod::Day;
        match preview_period(&budi, &machine.id, day).await {
            Ok(()) => Err("it is not"),
            Err(_) => Ok(()),
        }
    })
    .await;
    let day = BillingPeriod::Day;
    assert_eq!(
        [
            reason_of(preview_period(&budi, &machine.id, day).await),
            reason_of(change_period(&budi, &machine.id, day).await)
        ],
        ["PLAN_UNAVAILABLE"; 2]
    );
    // Another's machine is nobody's.
    let siti = world.reseller().await;
    all_say(&siti, &machine.id, "INSTANCE_NOT_FOUND").await;
    all_say(&siti, NOBODYS_ID, "INSTANCE_NOT_FOUND").await;
}

#[tokio::test]
async fn a_cloud_that_cannot_says_so() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let text = "provider = \"simulator-basic\"\n\
        [[region]]\nid = \"0192f0c1-0000-7000-8000-000000000921\"\ncode = \"basic-1\"\nname = \"Basic\"\ncountry = \"ID\"\navailable = true\nprovider_region = \"basic-1\"\n\
        [[image]]\nid = \"0192f0c1-0000-7000-8000-000000000922\"\ncode = \"basic-debian\"\nname = \"Debian\"\nkind = \"os\"\ndistribution = \"Debian\"\nmin_disk_gib = 5\n\
        provider_image = \"debian-12\"\n\
        [[plan]]\nid = \"0192f0c1-0000-7000-8000-000000000923\"\ncode = \"basic\"\nname = \"Basic\"\nvcpus = 1\nmemory_mib = 512\ndisk_gib = 10\ntransfer_gib = 500\n\
        provider_size = \"basic-1\"\nprice = { hour = 124, day = 3000, month = 83000, year = 830000 }\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    world.sewa(&["catalogue", "--file", path], "").unwrap();
    sell(&world, &budi).await;
    let draft = OrderDraft {
        plan_id: "0192f0c1-0000-7000-8000-000000000923".to_owned(),
        region_id: "0192f0c1-0000-7000-8000-000000000921".to_owned(),
        image_id: "0192f0c1-0000-7000-8000-000000000922".to_owned(),
        ..budi.draft("web-2").await
    };
    let placed = budi.place(draft).await.unwrap();
    let order = budi.wait_active(&placed).await;
    let machine = budi.instance(&order.instance_id).await;
    assert!(!machine.capabilities.iter().any(|c| c == "resize"));
    let error = both_say(&budi, &machine, ELSEWHERE, "NOT_SUPPORTED_BY_PROVIDER").await;
    assert_eq!(error.metadata("capability"), Some("resize"));
}

#[tokio::test]
async fn what_is_unpaid_paid_ahead_or_under_way_waits() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 1).await;
    sell(&world, &budi).await;
    // Enough for the change and one renewal after it, to the rupiah.
    budi.deposit(148_740).await;

    budi.inject(FaultKind::Error, 0).await;
    let begun = change(&budi, &machine.id, FAST).await.unwrap();
    let operation = begun.operation.unwrap();
    let renew = || RenewInstanceRequest {
        instance_id: machine.id.clone(),
    };
    all_say(&budi, &machine.id, "OPERATION_IN_PROGRESS").await;
    let error = refused(budi.lifecycle().renew_instance(renew()).await);
    assert!(error.is("OPERATION_IN_PROGRESS"), "{error:?}");
    assert_eq!(error.metadata("operation_id"), Some(operation.id.as_str()));
    let busy = refused(ask(&budi, Verb::Reboot, &machine.id, "").await);
    assert!(busy.is("OPERATION_IN_PROGRESS"), "{busy:?}");
    let clear = ClearFaultsRequest {};
    budi.sandbox().clear_faults(clear).await.unwrap();
    budi.finish(&operation).await.unwrap();

    let mut database = world.behind_the_scenes().await;
    let set = "update instances set state = $1 where id = $2::uuid";
    for state in ["SUSPENDED", "RUNNING"] {
        if state == "RUNNING" {
            let error = refused(change(&budi, &machine.id, FASTER).await);
            assert!(error.is("ILLEGAL_STATE"), "{error:?}");
        }
        sqlx::query(set)
            .bind(state)
            .bind(&machine.id)
            .execute(&mut database)
            .await
            .unwrap();
    }
    let freeze = "update balances set frozen_at = case when $1 then now() end, frozen_for = 'a test' where account_id = $2::uuid";
    for frozen in [true, false] {
        sqlx::query(freeze)
            .bind(frozen)
            .bind(&budi.account_id)
            .execute(&mut database)
            .await
            .unwrap();
        if frozen {
            let said = reason_of(change(&budi, &machine.id, FASTER).await);
            assert_eq!(said, "WALLET_FROZEN");
        }
    }

    let prepaid = budi.lifecycle().renew_instance(renew()).await;
    prepaid.unwrap();
    let paid_ahead = async |plan: &str| {
        [
            reason_of(preview(&budi, &machine.id, plan).await),
            reason_of(change(&budi, &machine.id, plan).await),
            reason_of(preview_period(&budi, &machine.id, BillingPeriod::Year).await),
            reason_of(change_period(&budi, &machine.id, BillingPeriod::Year).await),
        ]
    };
    assert_eq!(paid_ahead(FASTER).await, ["ALREADY_PREPAID"; 4]);
    assert_eq!(budi.balance().await.0, 0);
    budi.advance(65, 0).await;
    all_say(&budi, &machine.id, "SUBSCRIPTION_UNPAID").await;
    budi.advance(100, 0).await;
    all_say(&budi, &machine.id, "SUBSCRIPTION_ENDED").await;
}

#[tokio::test]
async fn rows_of_a_change_that_are_changed_by_hand_are_named() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    sell(&world, &budi).await;
    budi.deposit(1_000_000).await;
    for plan in [FASTER, FAST] {
        let begun = change(&budi, &machine.id, plan).await.unwrap();
        budi.finish(&begun.operation.unwrap()).await.unwrap();
    }
    let finance = world.staff("finance").await;
    let mut database = world.behind_the_scenes().await;
    let cases = [
        (
            "update plan_changes set net = net + $1 where net > 0 and account_id = $2::uuid",
            "plan_change_holds_its_total",
        ),
        (
            "update plan_changes set net = net - $1 where net < 0 and account_id = $2::uuid",
            "plan_change_is_given_back",
        ),
        (
            "update subscriptions set change_id = case when $1 > 0 then instance_id end where account_id = $2::uuid",
            "subscription_waits_for_its_plan_change",
        ),
        (
            "update instances set price = price + $1 where account_id = $2::uuid",
            "instance_shows_its_price",
        ),
    ];
    for (statement, rule) in cases {
        for by in [1_i64, -1] {
            sqlx::query(statement)
                .bind(by)
                .bind(&budi.account_id)
                .execute(&mut database)
                .await
                .unwrap();
            let request = ProveLedgerRequest {
                account_id: budi.account_id.clone(),
            };
            let proof = finance.wallet().prove_ledger(request).await.unwrap();
            let findings = proof.into_inner().proof.unwrap().findings;
            let named = findings.iter().any(|found| found.rule == rule);
            assert_eq!(named, by > 0, "{rule}: {findings:?}");
        }
    }
}
