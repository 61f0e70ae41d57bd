//! An account that refuses is left for another one, but never while it may have made the machine. [V5 V7]

use sewa_sdk::sewa::provider::v1::provider_account::Health;
use sewa_sdk::sewa::provider::v1::{
    CreateProviderAccountRequest, DisableProviderAccountRequest, TestProviderAccountRequest,
};
use sewa_tests::compute::{ComputeSimulator, Dialect, Fault};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World};
use sqlx::Row;

use crate::providers::{Shop, TOKEN, connect, connection, draft, open_shop, read, rich_reseller};

/// Buys a machine, and says at which of the clouds it is: `(first, second)`.
async fn bought(budi: &Actor, clouds: [&ComputeSimulator; 2]) -> (usize, usize) {
    let count = || clouds.map(|cloud| cloud.books().machines.len());
    let before = count();
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    let after = count();
    (after[0] - before[0], after[1] - before[1])
}

#[tokio::test]
async fn a_refusal_moves_a_machine_to_another_account_and_silence_does_not() {
    let world = World::new().await;
    // Labels are unique there and nobody waits long for one to show up.
    let Shop {
        cloud: second,
        sysadmin,
        account: main,
    } = open_shop(&world, Dialect::Linode).await;
    let first = ComputeSimulator::start(Dialect::Linode, TOKEN).await;
    let preferred = connect(&sysadmin, &first, "preferred", 1000).await;
    let budi = rich_reseller(&world).await;
    let clouds = [&first, &second];
    assert_eq!(bought(&budi, clouds).await, (1, 0), "by weight");

    first.books().arm_creation(Fault::Full);
    assert_eq!(bought(&budi, clouds).await, (0, 1), "no room");
    first.books().token = "another-one".to_owned();
    assert_eq!(bought(&budi, clouds).await, (0, 1), "not accepted");
    let seen = read(&sysadmin, &preferred.id).await;
    assert_eq!(seen.health(), Health::Unauthorized);
    assert_eq!(bought(&budi, clouds).await, (0, 1), "known not to be");
    first.books().token = TOKEN.to_owned();
    accepted(&sysadmin, &preferred.id).await;
    first.books().arm_creation(Fault::TooMany);
    assert_eq!(bought(&budi, clouds).await, (0, 1), "asked too often");

    // Nobody listens there; enough of that opens the breaker, and it is the same.
    let closed = CreateProviderAccountRequest {
        base_url: "http://127.0.0.1:1/v4".to_owned(),
        ..connection(&first, "closed", 1000)
    };
    let closed = sysadmin.providers().create_provider_account(closed).await;
    let closed = closed.unwrap().into_inner().provider_account.unwrap();
    for _ in 0..6 {
        let (here, there) = bought(&budi, clouds).await;
        assert_eq!(here + there, 1);
    }
    assert_eq!(read(&sysadmin, &closed.id).await.machines, 0);
    let request = DisableProviderAccountRequest {
        provider_account_id: closed.id,
    };
    let disabled = sysadmin.providers().disable_provider_account(request).await;
    disabled.unwrap();

    first.books().arm_creation(Fault::Lost);
    assert_eq!(
        bought(&budi, clouds).await,
        (1, 0),
        "made, and not heard of"
    );
    silence_keeps_it_where_it_is(&world, &budi, &first, &second).await;

    accepted(&sysadmin, &preferred.id).await;
    // None is left: the money comes back, and nothing was made.
    for cloud in clouds {
        cloud.books().arm_creation(Fault::Full);
    }
    let (before, made) = (budi.balance().await, second.books().created.len());
    let placed = budi.place(draft("web-1")).await.unwrap();
    let error = sewa_tests::refused(budi.finish(&placed.operation).await);
    assert!(error.is("OUT_OF_CAPACITY"), "{error:?}");
    assert_eq!(budi.balance().await, before);
    assert_eq!(second.books().created.len(), made);
    for cloud in clouds {
        let books = cloud.books();
        assert_eq!((books.armed(), &books.invalid), (0, &Vec::new()));
    }
    let counted = [&preferred, &main].map(|account| account.id.clone());
    for (id, cloud) in counted.iter().zip(clouds) {
        let machines = read(&sysadmin, id).await.machines;
        assert_eq!(usize::try_from(machines), Ok(cloud.books().machines.len()));
    }
    world.prove();
}

/// The provider takes the account's token again.
async fn accepted(sysadmin: &Actor, id: &str) {
    let request = TestProviderAccountRequest {
        provider_account_id: id.to_owned(),
    };
    let tested = sysadmin.providers().test_provider_account(request).await;
    let tested = tested.unwrap().into_inner().provider_account.unwrap();
    assert_eq!(tested.health(), Health::Ok);
}

/// The creation is not answered and had no effect, which nobody knows; then the account refuses. The machine is still made there and nowhere else.
async fn silence_keeps_it_where_it_is(
    world: &World,
    budi: &Actor,
    first: &ComputeSimulator,
    second: &ComputeSimulator,
) {
    let before = second.books().machines.len();
    first.books().arm_creation(Fault::LostBefore);
    let placed = budi.place(draft("web-1")).await.unwrap();
    eventually("the creation is not answered", || async {
        let armed = first.books().armed();
        if armed == 0 { Ok(()) } else { Err(armed) }
    })
    .await;
    first.books().token = "another-one".to_owned();
    eventually("the account refuses", || async {
        let mut database = world.behind_the_scenes().await;
        let said: String =
            sqlx::query("select coalesce(last_error, '') from orders where id = $1::uuid")
                .bind(&placed.order.id)
                .fetch_one(&mut database)
                .await
                .unwrap()
                .get(0);
        if said.contains("not authorized") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    first.books().token = TOKEN.to_owned();
    let order = budi.wait_active(&placed).await;
    let label = format!("sewa-{}", order.instance_id);
    let has =
        |cloud: &ComputeSimulator| cloud.books().machines.values().any(|vm| vm.label == label);
    assert!(has(first) && !has(second));
    assert_eq!(second.books().machines.len(), before);
}
