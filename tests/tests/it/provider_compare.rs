//! A provider's machines against ours, and lists that are read to their end. [V8]

use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::provider::v1::CompareProviderAccountRequest;
use sewa_sdk::sewa::provider::v1::difference::Kind;
use sewa_tests::compute::Dialect;
use sewa_tests::{NOBODYS_ID, World, once, reason_of};

use crate::instance::{Verb, ask};
use crate::providers::{Shop, draft, open_shop, rich_reseller};

async fn a_list_is_read_to_its_end(dialect: Dialect) {
    let world = World::new().await;
    let budi = rich_reseller(&world).await;
    let shop = open_shop(&world, dialect).await;
    shop.cloud.books().longest_page = 2;
    let placed = budi.place(draft("web-1")).await.unwrap();
    let order = budi.wait_active(&placed).await;
    // Five more of the same name: what only a whole list shows.
    let label = format!("sewa-{}", order.instance_id);
    for _ in 0..5 {
        shop.cloud.books().plant(&label);
    }
    let deleted = ask(&budi, Verb::Delete, &order.instance_id, "").await;
    budi.finish(&deleted.unwrap()).await.unwrap();
    assert!(shop.cloud.books().machines.is_empty());
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    // Clusters of our own have one list, and no pages of it.
    for dialect in Dialect::ALL.into_iter().filter(|d| !d.is_own()) {
        a_list_is_read_to_its_end(dialect).await;
    }
}

async fn differences(shop: &Shop) -> Vec<(Kind, String, i64)> {
    let request = CompareProviderAccountRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let reply = shop
        .sysadmin
        .providers()
        .compare_provider_account(request)
        .await
        .unwrap()
        .into_inner();
    let found = reply.differences.iter().map(|d| {
        let cost = d.daily_cost.as_ref().map_or(0, |cost| cost.units);
        (d.kind(), d.detail.clone(), cost)
    });
    found.collect()
}

async fn what_differs_is_found(dialect: Dialect, monthly_dollars: i64) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let placed = budi.place(draft(&format!("web-{n}"))).await.unwrap();
        ids.push(budi.wait_active(&placed).await.instance_id);
    }
    assert_eq!(differences(&shop).await, []);
    let label = |n: usize| format!("sewa-{}", ids[n]);
    {
        let mut books = shop.cloud.books();
        books.plant("somebodys-own");
        let gone = label(0);
        books.machines.retain(|_, vm| vm.label != gone);
        let grown = label(1);
        for vm in books.machines.values_mut().filter(|vm| vm.label == grown) {
            vm.size = "another".to_owned();
        }
    }
    let cost = (monthly_dollars * 12 * 16_500 + 364) / 365;
    // The patrol may find the missing machine first, and says that it is lost; then nobody is charged for it any more.
    let found = differences(&shop).await;
    let orphan = (Kind::Orphan, "no living instance has it".to_owned(), cost);
    assert!(found.contains(&orphan), "{found:?}");
    let (size, _, _) = dialect.catalogue();
    let resized = format!("size another instead of {size}");
    assert!(
        found
            .iter()
            .any(|(kind, detail, _)| *kind == Kind::Drift && *detail == resized),
        "{found:?}"
    );
    let ghost = found.iter().find(|(kind, _, _)| *kind == Kind::Ghost);
    let lost = budi.instance(&ids[0]).await.state() == State::Lost;
    assert!(
        lost || ghost.is_some_and(|(_, _, cost)| *cost == 4077),
        "{found:?}"
    );
    assert_eq!(shop.cloud.books().machines.len(), 3, "nothing was changed");
    shop.cloud.books().token = "another-one".to_owned();
    let request = CompareProviderAccountRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let mut providers = shop.sysadmin.providers();
    let refusal = providers.compare_provider_account(once(request)).await;
    assert_eq!(reason_of(refusal), "PROVIDER_DOES_NOT_ANSWER");
    let request = CompareProviderAccountRequest {
        provider_account_id: NOBODYS_ID.to_owned(),
    };
    let refusal = providers.compare_provider_account(request).await;
    assert_eq!(reason_of(refusal), "PROVIDER_ACCOUNT_NOT_FOUND");
}

#[tokio::test]
async fn what_differs_at_digitalocean_is_found() {
    what_differs_is_found(Dialect::DigitalOcean, 6).await;
}

#[tokio::test]
async fn what_differs_at_linode_is_found() {
    // Dearer in this region than elsewhere.
    what_differs_is_found(Dialect::Linode, 6).await;
}

#[tokio::test]
async fn what_differs_at_vultr_is_found() {
    what_differs_is_found(Dialect::Vultr, 5).await;
}
