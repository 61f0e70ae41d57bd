//! API keys and the audit trail. [I5 I10]

use sewa_sdk::Credentials;
use sewa_sdk::sewa::identity::v1::{
    AuditEntry, CreateApiKeyRequest, CreateApiKeyResponse, DeleteApiKeyRequest, GetCallerRequest,
    GetProfileRequest, ListApiKeysRequest, ListAuditEntriesRequest, Profile, UpdateProfileRequest,
};
use sewa_sdk::sewa::wallet::v1::GetWalletRequest;
use sewa_tests::patience::eventually;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};
use sqlx::Row;

fn wish(scopes: &[&str]) -> CreateApiKeyRequest {
    CreateApiKeyRequest {
        display_name: "shop".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        lifetime_days: 0,
    }
}

async fn key(owner: &Actor, scopes: &[&str]) -> CreateApiKeyResponse {
    owner
        .identity()
        .create_api_key(wish(scopes))
        .await
        .expect("making a key")
        .into_inner()
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let made = key(&budi, &["wallet.read", "orders"]).await;
    let shop = budi.through(world.client(Credentials::api_key(&made.secret)));
    shop.deposit_is_forbidden().await;
    assert_eq!(shop.balance().await, (0, 0));
    shop.preview(&shop.draft("web-1").await).await.unwrap();
    let error = refused(shop.identity().get_caller(GetCallerRequest {}).await);
    assert!(
        error.is("PERMISSION_DENIED") && error.metadata("permission") == Some("profile.read"),
        "{error:?}"
    );
    let listed = budi
        .identity()
        .list_api_keys(ListApiKeysRequest::default())
        .await
        .unwrap()
        .into_inner()
        .api_keys;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].last_use_time.is_some(), "its use is seen");
}

trait Forbidden {
    async fn deposit_is_forbidden(&self);
}

impl Forbidden for Actor {
    async fn deposit_is_forbidden(&self) {
        use sewa_sdk::money::Money;
        use sewa_sdk::sewa::wallet::v1::{CreateDepositRequest, deposit::Method};
        let request = CreateDepositRequest {
            amount: Some(Money::idr(50_000)),
            method: Method::Sandbox.into(),
            ..Default::default()
        };
        assert_eq!(
            reason_of(self.wallet().create_deposit(request).await),
            "PERMISSION_DENIED"
        );
    }
}

#[tokio::test]
async fn a_key_has_no_profile() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let shop =
        budi.through(world.client(Credentials::api_key(key(&budi, &["profile"]).await.secret)));
    assert_eq!(
        reason_of(shop.identity().get_profile(GetProfileRequest {}).await),
        "PROFILE_NOT_FOUND"
    );
    let mask = prost_types::FieldMask {
        paths: vec!["name".to_owned()],
    };
    let request = UpdateProfileRequest {
        profile: Some(Profile {
            name: "x".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(mask),
    };
    assert_eq!(
        reason_of(shop.identity().update_profile(request).await),
        "PROFILE_NOT_FOUND"
    );
}

#[tokio::test]
async fn nobody_gives_away_more_than_they_hold() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for scope in ["wallet.adjust", "catalog", "nonsense"] {
        let error = refused(budi.identity().create_api_key(wish(&[scope])).await);
        assert!(
            error.is("UNKNOWN_SCOPE") && error.metadata("scope") == Some(scope),
            "{error:?}"
        );
    }
    // A key that may make keys cannot make one that may do more than itself.
    let clerk = budi.through(world.client(Credentials::api_key(
        key(&budi, &["keys.write", "wallet.read"]).await.secret,
    )));
    assert_eq!(
        reason_of(
            clerk
                .identity()
                .create_api_key(wish(&["orders.place"]))
                .await
        ),
        "UNKNOWN_SCOPE"
    );
    key(&clerk, &["wallet.read"]).await;
}

#[tokio::test]
async fn a_revoked_key_stops_within_seconds_on_every_replica() {
    let mut world = World::new().await;
    let second = world.add_server();
    let budi = world.reseller().await;
    let made = key(&budi, &["wallet.read"]).await;
    let credentials = || Credentials::api_key(&made.secret);
    let shops = [
        budi.through(world.client(credentials())),
        budi.through(world.client_of(second, credentials())),
    ];
    for shop in &shops {
        assert_eq!(shop.balance().await, (0, 0));
    }
    let id = made.api_key.unwrap().id;
    for _ in 0..2 {
        budi.identity()
            .delete_api_key(DeleteApiKeyRequest {
                api_key_id: id.clone(),
            })
            .await
            .unwrap();
    }
    let revoked = std::time::Instant::now();
    for shop in &shops {
        let error = eventually("the key is refused", || async {
            match shop.wallet().get_wallet(GetWalletRequest::default()).await {
                Ok(_) => Err("accepted"),
                Err(status) => Ok(sewa_sdk::Error::from(status)),
            }
        })
        .await;
        assert!(error.is("UNAUTHENTICATED"), "{error:?}");
    }
    assert!(
        revoked.elapsed().as_secs() < 8,
        "five seconds are promised, it took {:?}",
        revoked.elapsed()
    );
    assert_eq!(
        reason_of(
            budi.identity()
                .delete_api_key(DeleteApiKeyRequest {
                    api_key_id: NOBODYS_ID.to_owned()
                })
                .await
        ),
        "API_KEY_NOT_FOUND"
    );
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let made = budi
        .identity()
        .create_api_key(CreateApiKeyRequest {
            lifetime_days: 1,
            ..wish(&["wallet.read"])
        })
        .await
        .unwrap()
        .into_inner();
    assert!(made.api_key.unwrap().expire_time.is_some());
    // Nobody waits a day for a test.
    sqlx::query("update api_keys set expires_at = now() - interval '1 second'")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    let shop = budi.through(world.client(Credentials::api_key(made.secret)));
    assert_eq!(
        reason_of(shop.wallet().get_wallet(GetWalletRequest::default()).await),
        "UNAUTHENTICATED"
    );
}

#[tokio::test]
async fn a_foreign_key_looks_like_no_key() {
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    let id = key(&budi, &["wallet.read"]).await.api_key.unwrap().id;
    let foreign = refused(
        siti.identity()
            .delete_api_key(DeleteApiKeyRequest { api_key_id: id })
            .await,
    );
    let missing = refused(
        siti.identity()
            .delete_api_key(DeleteApiKeyRequest {
                api_key_id: NOBODYS_ID.to_owned(),
            })
            .await,
    );
    assert_eq!(
        (foreign.code(), foreign.message()),
        (missing.code(), missing.message())
    );
    assert!(
        siti.identity()
            .list_api_keys(ListApiKeysRequest::default())
            .await
            .unwrap()
            .into_inner()
            .api_keys
            .is_empty()
    );
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_no_more() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let limit: i64 = loop {
        if let Err(status) = budi.identity().create_api_key(wish(&["wallet.read"])).await {
            let error = sewa_sdk::Error::from(status);
            assert!(error.is("API_KEY_LIMIT"), "{error:?}");
            break error.metadata("limit").unwrap().parse().unwrap();
        }
    };
    let listed = budi
        .identity()
        .list_api_keys(ListApiKeysRequest {
            page_size: 200,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .api_keys;
    assert_eq!(i64::try_from(listed.len()).unwrap(), limit);
}

#[tokio::test]
async fn the_secret_of_a_key_is_in_one_reply_only() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let first = budi
        .identity()
        .create_api_key(keyed("k-1", wish(&["orders"])))
        .await
        .unwrap();
    let again = budi
        .identity()
        .create_api_key(keyed("k-1", wish(&["orders"])))
        .await
        .unwrap();
    assert!(!is_replay(&first) && is_replay(&again));
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(first.api_key, again.api_key);
    assert!(first.secret.starts_with("sk_") && again.secret.is_empty());
}

pub(crate) async fn audit(reader: &Actor, method: &str) -> Vec<AuditEntry> {
    let request = ListAuditEntriesRequest {
        method: method.to_owned(),
        account_id: String::new(),
        ..Default::default()
    };
    reader
        .identity()
        .list_audit_entries(request)
        .await
        .expect("reading the audit trail")
        .into_inner()
        .audit_entries
}

#[tokio::test]
async fn every_write_leaves_who_what_when_and_the_state_before() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let mask = || {
        Some(prost_types::FieldMask {
            paths: vec!["name".to_owned()],
        })
    };
    for name in ["Satu", "Dua"] {
        let profile = Some(Profile {
            name: name.to_owned(),
            ..Default::default()
        });
        budi.identity()
            .update_profile(keyed(
                name,
                UpdateProfileRequest {
                    profile,
                    update_mask: mask(),
                },
            ))
            .await
            .unwrap();
    }
    let entries = audit(&budi, "sewa.identity.v1.IdentityService/UpdateProfile").await;
    assert_eq!(entries.len(), 2);
    let newest = &entries[0];
    assert_eq!(
        (
            newest.account_id.as_str(),
            newest.actor_id.as_str(),
            newest.idempotency_key.as_str(),
            newest.code
        ),
        (&*budi.account_id, &*budi.user_id, "Dua", 0)
    );
    assert_eq!(newest.ip_address, "127.0.0.1");
    assert!(newest.record_time.is_some() && !newest.request_id.is_empty());
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&newest.before_json)["name"], "Satu", "{newest:?}");
    assert_eq!(
        json(&newest.reply_json)["profile"]["name"],
        "Dua",
        "{newest:?}"
    );
    assert_eq!(json(&newest.request_json)["profile"]["name"], "Dua");
    // Nobody sees another account's trail.
    let siti = world.reseller().await;
    assert!(
        audit(&siti, "sewa.identity.v1.IdentityService/UpdateProfile")
            .await
            .is_empty()
    );
    let support = world.staff("support").await;
    assert_eq!(
        audit(&support, "sewa.identity.v1.IdentityService/UpdateProfile")
            .await
            .len(),
        2
    );
}

#[tokio::test]
async fn no_secret_is_kept_anywhere_in_the_clear() {
    let world = World::with(sewa_tests::Settings::default().with("LOG_FORMAT", "json")).await;
    let budi = world.reseller().await;
    let made = key(&budi, &["orders"]).await;
    budi.deposit(500_000).await;
    let machine = budi.running("web-1").await;
    let request = sewa_sdk::sewa::instance::v1::ResetInstancePasswordRequest {
        instance_id: machine.id.clone(),
    };
    let reset = budi
        .instances()
        .reset_instance_password(request)
        .await
        .unwrap()
        .into_inner();
    budi.finish(&reset.operation.unwrap()).await.unwrap();
    let secrets = [
        PASSWORD,
        &made.secret,
        &reset.password,
        &budi.tokens.access_token,
        &budi.tokens.refresh_token,
    ];
    assert!(
        secrets.iter().all(|secret| secret.len() > 8),
        "every secret was given out"
    );
    kept_nowhere(&world, &secrets).await;
}

/// Looks for secrets in every table, and in the log.
pub(crate) async fn kept_nowhere(world: &World, secrets: &[&str]) {
    let mut database = world.behind_the_scenes().await;
    let tables = sqlx::query("select tablename from pg_tables where schemaname = 'public'")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert!(tables.len() > 15);
    for table in tables {
        let table: String = table.get(0);
        // Byte strings print as hexadecimal; `encode(.., 'escape')` shows text within them.
        let columns = sqlx::query(
            "select string_agg(case when data_type = 'bytea' then format('coalesce(encode(%I, ''escape''), '''')', column_name)
             else format('coalesce(%I::text, '''')', column_name) end, ' || '' '' || ') from information_schema.columns where table_schema = 'public' and table_name = $1",
        );
        let columns: String = columns
            .bind(&table)
            .fetch_one(&mut database)
            .await
            .unwrap()
            .get(0);
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {columns} from {table}"
        )))
        .fetch_all(&mut database)
        .await
        .unwrap();
        for row in rows {
            let text: String = row.get(0);
            for secret in secrets {
                assert!(
                    !text.contains(secret),
                    "table {table} holds a secret: {text}"
                );
            }
        }
    }
    let log = world.servers[0].log();
    for secret in secrets {
        assert!(!log.contains(secret), "the log holds a secret");
    }
}
