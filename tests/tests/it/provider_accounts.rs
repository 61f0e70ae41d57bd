//! Accounts at real clouds, and that their tokens stay secret. [V5 I8]

use sewa_sdk::sewa::provider::v1::provider_account::Health;
use sewa_sdk::sewa::provider::v1::{
    CreateProviderAccountRequest, DisableProviderAccountRequest, EnableProviderAccountRequest,
    GetProviderAccountRequest, ListProviderAccountsRequest, ProviderAccount,
    SetProviderCredentialsRequest, TestProviderAccountRequest, UpdateProviderAccountRequest,
};
use sewa_tests::compute::Dialect;
use sewa_tests::{NOBODYS_ID, Settings, World, reason_of, refused};
use sqlx::Row;

use crate::instance::{Verb, ask};
use crate::providers::{Shop, TOKEN, connect, connection, draft, open_shop, read, rich_reseller};

#[tokio::test]
async fn accounts_are_connected_changed_tested_and_disabled() {
    let world = World::new().await;
    let Shop {
        cloud,
        sysadmin,
        account,
    } = open_shop(&world, Dialect::DigitalOcean).await;
    let mut providers = sysadmin.providers();
    assert_eq!(
        (account.health(), account.enabled, account.weight),
        (Health::Unknown, true, 1)
    );
    let again = providers
        .create_provider_account(connection(&cloud, "main", 1))
        .await;
    assert_eq!(reason_of(again), "PROVIDER_ACCOUNT_NAME_TAKEN");
    let foreign = CreateProviderAccountRequest {
        provider: "nobody".to_owned(),
        ..connection(&cloud, "other", 1)
    };
    let foreign = refused(providers.create_provider_account(foreign).await);
    assert!(
        foreign.is("UNKNOWN_PROVIDER") && foreign.metadata("provider") == Some("nobody"),
        "{foreign:?}"
    );
    for base_url in ["http://api.example.com", "ftp://127.0.0.1", "nonsense"] {
        let clear = CreateProviderAccountRequest {
            base_url: base_url.to_owned(),
            ..connection(&cloud, "other", 1)
        };
        assert_eq!(
            reason_of(providers.create_provider_account(clear).await),
            "INVALID_REQUEST"
        );
    }
    let second = connect(&sysadmin, &cloud, "second", 0).await;

    let update = |fields: &[&str], new: ProviderAccount| UpdateProviderAccountRequest {
        provider_account: Some(new),
        update_mask: Some(prost_types::FieldMask {
            paths: fields.iter().map(|f| (*f).to_owned()).collect(),
        }),
    };
    let new = ProviderAccount {
        id: second.id.clone(),
        weight: 3,
        region_codes: vec!["fra1".to_owned()],
        display_name: "main".to_owned(),
        ..Default::default()
    };
    let changed = providers
        .update_provider_account(update(&["weight", "region_codes"], new.clone()))
        .await
        .unwrap()
        .into_inner()
        .provider_account
        .unwrap();
    assert_eq!(
        (
            changed.weight,
            changed.region_codes.len(),
            changed.display_name.as_str()
        ),
        (3, 1, "second")
    );
    let taken = providers.update_provider_account(update(&["display_name"], new.clone()));
    assert_eq!(reason_of(taken.await), "PROVIDER_ACCOUNT_NAME_TAKEN");
    let fixed = providers.update_provider_account(update(&["base_url"], new.clone()));
    assert_eq!(reason_of(fixed.await), "FIELD_NOT_WRITABLE");

    let test = |id: &str| TestProviderAccountRequest {
        provider_account_id: id.to_owned(),
    };
    let tested = providers.test_provider_account(test(&account.id)).await;
    let tested = tested.unwrap().into_inner().provider_account.unwrap();
    assert_eq!(
        (
            tested.health(),
            tested.provider_machine_limit,
            tested.provider_balance.as_str()
        ),
        (Health::Ok, 1000, "USD 23.44")
    );
    let wrong = |id: &str| SetProviderCredentialsRequest {
        provider_account_id: id.to_owned(),
        token: "another-token".to_owned(),
    };
    let set = providers.set_provider_credentials(wrong(&account.id)).await;
    assert_eq!(
        set.unwrap().into_inner().provider_account.unwrap().health(),
        Health::Unknown
    );
    let tested = providers.test_provider_account(test(&account.id)).await;
    let tested = tested.unwrap().into_inner().provider_account.unwrap();
    assert_eq!(tested.health(), Health::Unauthorized);
    assert!(
        tested.health_message.contains("Unable to authenticate you"),
        "{tested:?}"
    );

    for _ in 0..2 {
        let request = DisableProviderAccountRequest {
            provider_account_id: account.id.clone(),
        };
        let disabled = providers.disable_provider_account(request).await.unwrap();
        assert!(!disabled.into_inner().provider_account.unwrap().enabled);
    }
    let request = EnableProviderAccountRequest {
        provider_account_id: account.id.clone(),
    };
    let enabled = providers.enable_provider_account(request).await.unwrap();
    assert!(enabled.into_inner().provider_account.unwrap().enabled);
    let listed = providers
        .list_provider_accounts(ListProviderAccountsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .provider_accounts;
    assert_eq!(
        listed.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(),
        [second.id.as_str(), account.id.as_str()]
    );

    let unknown = NOBODYS_ID.to_owned();
    let missing = "PROVIDER_ACCOUNT_NOT_FOUND";
    let get = GetProviderAccountRequest {
        provider_account_id: unknown.clone(),
    };
    assert_eq!(
        reason_of(providers.get_provider_account(get).await),
        missing
    );
    let nobodys = ProviderAccount {
        id: unknown.clone(),
        ..new
    };
    let updated = providers.update_provider_account(update(&["weight"], nobodys));
    assert_eq!(reason_of(updated.await), missing);
    let set = providers.set_provider_credentials(wrong(&unknown));
    assert_eq!(reason_of(set.await), missing);
    let tested = providers.test_provider_account(test(&unknown));
    assert_eq!(reason_of(tested.await), missing);
    let disable = DisableProviderAccountRequest {
        provider_account_id: unknown.clone(),
    };
    let disabled = providers.disable_provider_account(disable);
    assert_eq!(reason_of(disabled.await), missing);
    let enable = EnableProviderAccountRequest {
        provider_account_id: unknown,
    };
    let enabled = providers.enable_provider_account(enable);
    assert_eq!(reason_of(enabled.await), missing);
}

#[tokio::test]
async fn credentials_are_sealed_anew_under_another_key() {
    let hex = "a1".repeat(32);
    let world = World::with(Settings::default().with("CREDENTIAL_KEYS__2027", hex)).await;
    let shop = open_shop(&world, Dialect::DigitalOcean).await;
    assert_eq!(shop.account.credential_key, "master");
    let printed = world.sewa(&["key", "rotate-credentials"], "").unwrap();
    assert!(
        printed.contains("0 credentials sealed anew under master"),
        "{printed}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "credential_key = \"2027\"\n").unwrap();
    let path = file.path().to_string_lossy().into_owned();
    let rotate = ["--config", path.as_str(), "key", "rotate-credentials"];
    let printed = world.sewa(&rotate, "").unwrap();
    assert!(
        printed.contains("1 credentials sealed anew under 2027"),
        "{printed}"
    );
    assert_eq!(
        read(&shop.sysadmin, &shop.account.id).await.credential_key,
        "2027"
    );
    let test = TestProviderAccountRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let tested = shop.sysadmin.providers().test_provider_account(test).await;
    let tested = tested.unwrap().into_inner().provider_account.unwrap();
    assert_eq!(tested.health(), Health::Ok, "the new seal opens");
}

#[tokio::test]
async fn planted_secrets_show_up_nowhere() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Linode).await;
    let budi = rich_reseller(&world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    let order = budi.wait_active(&placed).await;
    let request = sewa_sdk::sewa::instance::v1::ResetInstancePasswordRequest {
        instance_id: order.instance_id.clone(),
    };
    let reset = budi.instances().reset_instance_password(request).await;
    let reset = reset.unwrap().into_inner();
    budi.finish(&reset.operation.unwrap()).await.unwrap();
    let second_token = "planted-token-9b03e5";
    let set = SetProviderCredentialsRequest {
        provider_account_id: shop.account.id.clone(),
        token: second_token.to_owned(),
    };
    let set = shop
        .sysadmin
        .providers()
        .set_provider_credentials(set)
        .await;
    set.unwrap();
    // The provider does not take that one, so what follows fails, and is logged.
    let test = TestProviderAccountRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let tested = shop.sysadmin.providers().test_provider_account(test).await;
    tested.unwrap();
    let failing = ask(&budi, Verb::Reboot, &order.instance_id, "")
        .await
        .unwrap();
    sewa_tests::patience::eventually("the failure is logged", || async {
        let log = world.servers[0].log();
        log.contains(&failing.id).then_some(()).ok_or(log.len())
    })
    .await;

    let given = shop.cloud.books().machines.values().next().unwrap().clone();
    let password = given.password.unwrap();
    found_nowhere(&world, &[TOKEN, second_token, &password]).await;
    let mut database = world.behind_the_scenes().await;
    // The search finds what is there: the account's name is no secret.
    let seen: i64 = sqlx::query(
        "select count(*) from writes t where t::text like '%' || encode('main', 'hex') || '%'",
    )
    .fetch_one(&mut database)
    .await
    .unwrap()
    .get(0);
    assert!(seen >= 1, "the audit trail holds the request itself");
}

/// Searches the log of the first server and every row of every table for secrets.
pub(crate) async fn found_nowhere(world: &World, secrets: &[&str]) {
    let log = world.servers[0].log();
    for secret in secrets {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
    let mut database = world.behind_the_scenes().await;
    let tables =
        sqlx::query("select table_name::text from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'")
            .fetch_all(&mut database)
            .await
            .unwrap();
    let mut searched = 0;
    for table in tables {
        let table: String = table.get(0);
        for secret in secrets {
            let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
            let found = sqlx::query(sqlx::AssertSqlSafe(format!(
                "select count(*) from \"{table}\" t where t::text like $1 or t::text like $2"
            )))
            .bind(format!("%{secret}%"))
            .bind(format!("%{hex}%"))
            .fetch_one(&mut database)
            .await
            .unwrap()
            .get::<i64, _>(0);
            assert_eq!(found, 0, "{table} holds {secret}");
            searched += 1;
        }
    }
    assert!(searched > 20 * secrets.len(), "tables were searched");
}
