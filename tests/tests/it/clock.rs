//! Test clocks: time for sandbox accounts, and for them alone. [L7 R4]

use sewa_sdk::sewa::sandbox::v1::{
    AdvanceTestClockRequest, CreateTestClockRequest, GetTestClockRequest,
};
use sewa_tests::{NOBODYS_ID, World, reason_of, refused};

#[tokio::test]
async fn a_clock_is_made_once_and_moves_only_forward_and_when_it_stands() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let advance = |seconds: i64| AdvanceTestClockRequest {
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    assert_eq!(
        reason_of(budi.sandbox().get_test_clock(GetTestClockRequest {}).await),
        "CLOCK_NOT_FOUND"
    );
    assert_eq!(
        reason_of(budi.sandbox().advance_test_clock(advance(60)).await),
        "CLOCK_NOT_FOUND"
    );
    let made = budi.take_a_clock().await;
    assert_eq!(made.now_time, made.target_time);
    assert_eq!(
        reason_of(
            budi.sandbox()
                .create_test_clock(CreateTestClockRequest {})
                .await
        ),
        "CLOCK_EXISTS"
    );
    assert_eq!(
        reason_of(budi.sandbox().advance_test_clock(advance(0)).await),
        "INVALID_REQUEST"
    );
    // While it is on its way nobody sends it elsewhere; the SDK waits for it, so one attempt is asked for.
    let mut request = tonic::Request::new(advance(60));
    request.extensions_mut().insert(sewa_sdk::CallOptions {
        max_attempts: Some(1),
        ..Default::default()
    });
    let mut database = world.behind_the_scenes().await;
    let mut walking = sqlx::Connection::begin(&mut database).await.unwrap();
    sqlx::query("lock table subscriptions in access exclusive mode")
        .execute(&mut *walking)
        .await
        .unwrap();
    budi.sandbox()
        .advance_test_clock(advance(3600))
        .await
        .unwrap();
    let error = refused(budi.sandbox().advance_test_clock(request).await);
    assert!(
        error.is("CLOCK_ADVANCING") && error.retry().after.is_some(),
        "{error:?}"
    );
    walking.rollback().await.unwrap();
    let there = budi.wait_clock().await;
    assert_eq!(
        there.now_time.unwrap().seconds - made.now_time.unwrap().seconds,
        3600
    );
}

#[tokio::test]
async fn nobody_plays_with_a_real_account() {
    use sewa_sdk::sewa::sandbox::v1::{
        ClearFaultsRequest, InjectFaultRequest, ListFaultsRequest, SettleDepositRequest, fault,
        settle_deposit_request::Outcome,
    };
    let world = World::new().await;
    let real = world.real_reseller().await;
    let mut sandbox = real.sandbox();
    let answers = [
        sandbox
            .settle_deposit(SettleDepositRequest {
                deposit_id: NOBODYS_ID.to_owned(),
                outcome: Outcome::Paid.into(),
            })
            .await
            .map(drop),
        sandbox
            .inject_fault(InjectFaultRequest {
                kind: fault::Kind::Error.into(),
                times: 1,
            })
            .await
            .map(drop),
        sandbox
            .list_faults(ListFaultsRequest::default())
            .await
            .map(drop),
        sandbox.clear_faults(ClearFaultsRequest {}).await.map(drop),
        sandbox
            .create_test_clock(CreateTestClockRequest {})
            .await
            .map(drop),
        sandbox
            .get_test_clock(GetTestClockRequest {})
            .await
            .map(drop),
        sandbox
            .advance_test_clock(AdvanceTestClockRequest {
                duration: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
            })
            .await
            .map(drop),
    ];
    for answer in answers {
        assert_eq!(reason_of(answer), "SANDBOX_ONLY");
    }
}
