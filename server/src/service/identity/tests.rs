//! What only the database decides: who wins a race, what a replaced token does, how many keys there are.

use chrono::Duration;

use super::*;
use crate::base::clock::Clock;
use crate::base::crypto::MasterKey;
use crate::base::db::PgPool;
use crate::service::identity::tokens::Claims;

const PASSWORD: &str = "correct horse 9";

fn master() -> MasterKey {
    MasterKey::new([7; 32])
}

fn now() -> DateTime<Utc> {
    Clock.now()
}

async fn signer(db: &PgPool) -> Signer {
    Signer::load(db, &master()).await.expect("loads")
}

async fn account(db: &PgPool, email: &str, kind: AccountKind) -> (AccountId, UserId) {
    let password_hash = password::hash(PASSWORD.to_owned()).await.expect("hashes");
    let new = NewAccount {
        email: email.to_owned(),
        password_hash,
        user_name: "Budi".to_owned(),
        account_name: "Toko".to_owned(),
        kind,
        sandbox: true,
        referral_code: String::new(),
    };
    register(&mut db.acquire().await.expect("a connection"), &new, now())
        .await
        .expect("registers")
}

fn sign_in(email: &str, password: &str) -> session::SignIn {
    session::SignIn {
        email: email.to_owned(),
        password: password.to_owned(),
        code: String::new(),
    }
}

async fn login(db: &PgPool, signer: &Signer, email: &str) -> model::Tokens {
    session::login(db, signer, &master(), sign_in(email, PASSWORD), now())
        .await
        .expect("signs in")
        .0
}

fn key(account: AccountId, scopes: &[&str]) -> NewKey {
    let scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
    NewKey {
        account,
        created_by: Uuid::nil(),
        role: "owner",
        display_name: "test".to_owned(),
        scopes,
        lifetime_days: 1,
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_who_register_one_address_at_once_one_is_refused(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let new = |email: &str| NewAccount {
        email: email.to_owned(),
        password_hash: "x".to_owned(),
        user_name: "Budi".to_owned(),
        account_name: "Toko".to_owned(),
        kind: AccountKind::Customer,
        sandbox: false,
        referral_code: String::new(),
    };
    let mut first = db.begin().await.expect("begins");
    register(&mut first, &new("Budi@Example.com"), now())
        .await
        .expect("registers");
    let late = tokio::spawn({
        let (db, new) = (db.clone(), new("budi@EXAMPLE.com"));
        async move { register(&mut db.acquire().await.expect("a connection"), &new, now()).await }
    });
    first.commit().await.expect("commits");
    assert!(matches!(late.await.expect("joins"), Err(Error::EmailTaken)));
}

#[sqlx::test(migrations = "../migrations")]
async fn signing_in_needs_the_password_and_says_no_more_than_no(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let signer = signer(&db).await;
    let (account, user) = account(&db, "budi@example.com", AccountKind::Reseller).await;
    let (tokens, person) = session::login(
        &db,
        &signer,
        &master(),
        sign_in(" BUDI@example.com", PASSWORD),
        now(),
    )
    .await
    .expect("signs in");
    assert_eq!(
        (person.id, person.account_id, person.role(), person.sandbox),
        (user, Some(account), Some("reseller"), true)
    );
    let caller = authenticate_user(&signer, &tokens.access, now())
        .await
        .expect("authenticates");
    assert_eq!(
        (caller.account, caller.principal, caller.role, caller.kind),
        (Some(account), user.0, "reseller", CallerKind::User)
    );
    assert!(caller.holds("keys.write") && !caller.holds("orders.search"));
    for (email, password) in [
        ("budi@example.com", "correct horse 8"),
        ("ani@example.com", PASSWORD),
    ] {
        let refused =
            session::login(&db, &signer, &master(), sign_in(email, password), now()).await;
        assert!(matches!(refused, Err(Error::InvalidCredentials)), "{email}");
    }
    sqlx::query!("update accounts set suspended_at = now()")
        .execute(&db)
        .await
        .expect("suspends");
    assert!(matches!(
        session::login(
            &db,
            &signer,
            &master(),
            sign_in("budi@example.com", PASSWORD),
            now()
        )
        .await,
        Err(Error::Suspended)
    ));
    assert!(matches!(
        session::login(
            &db,
            &signer,
            &master(),
            sign_in("budi@example.com", "wrong"),
            now()
        )
        .await,
        Err(Error::InvalidCredentials)
    ));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_refresh_token_works_once_and_a_lost_reply_is_forgiven_for_a_moment(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let signer = signer(&db).await;
    account(&db, "budi@example.com", AccountKind::Customer).await;
    let first = login(&db, &signer, "budi@example.com").await;
    let t = now();
    let second = session::refresh(&db, &signer, &first.refresh, t)
        .await
        .expect("rotates");
    let again = session::refresh(&db, &signer, &first.refresh, t + Duration::seconds(5))
        .await
        .expect("is forgiven");
    assert_eq!(
        signer.open_refresh(&again.refresh),
        signer.open_refresh(&second.refresh),
        "the family does not fork"
    );
    let third = session::refresh(&db, &signer, &again.refresh, t + Duration::seconds(6))
        .await
        .expect("rotates");
    let reused = session::refresh(&db, &signer, &first.refresh, t + Duration::seconds(7)).await;
    assert!(matches!(reused, Err(Error::RefreshTokenReused)));
    let revoked = session::refresh(&db, &signer, &third.refresh, t + Duration::seconds(8)).await;
    assert!(
        matches!(revoked, Err(Error::RefreshTokenInvalid)),
        "the whole family is revoked"
    );
    let other = login(&db, &signer, "budi@example.com").await;
    session::refresh(&db, &signer, &other.refresh, t)
        .await
        .expect("another sign-in is not touched");
}

#[sqlx::test(migrations = "../migrations")]
async fn refreshing_at_once_gives_all_the_same_token(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let signer = std::sync::Arc::new(signer(&db).await);
    account(&db, "budi@example.com", AccountKind::Customer).await;
    let tokens = login(&db, &signer, "budi@example.com").await;
    let calls = (0..4).map(|_| {
        let (db, signer, token) = (db.clone(), signer.clone(), tokens.refresh.clone());
        tokio::spawn(async move { session::refresh(&db, &signer, &token, now()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let tokens = call.await.expect("joins").expect("refreshes");
        assert_eq!(
            signer
                .open_refresh(&tokens.refresh)
                .map(|(_, generation)| generation),
            Some(2)
        );
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn signing_out_ends_the_session_and_tokens_end_by_themselves(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let signer = signer(&db).await;
    account(&db, "budi@example.com", AccountKind::Customer).await;
    let tokens = login(&db, &signer, "budi@example.com").await;
    let late = session::refresh(&db, &signer, &tokens.refresh, now() + Duration::days(8)).await;
    assert!(matches!(late, Err(Error::RefreshTokenInvalid)));
    session::logout(&db, &signer, &tokens.refresh, now())
        .await
        .expect("signs out");
    session::logout(&db, &signer, &tokens.refresh, now())
        .await
        .expect("signs out again");
    session::logout(&db, &signer, "srt_nonsense", now())
        .await
        .expect("has nothing to do");
    assert!(matches!(
        session::refresh(&db, &signer, &tokens.refresh, now()).await,
        Err(Error::RefreshTokenInvalid)
    ));
    for token in ["", "srt_", "srt_AAAA", tokens.access.as_str()] {
        assert!(
            matches!(
                session::refresh(&db, &signer, token, now()).await,
                Err(Error::RefreshTokenInvalid)
            ),
            "{token}"
        );
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn access_tokens_are_checked_against_the_time_of_the_call_and_our_keys_only(
    db: sqlx::PgPool,
) {
    let db = PgPool::from(db);
    let signer = signer(&db).await;
    let t = now();
    let claims = Claims::new(
        Uuid::now_v7(),
        None,
        "support",
        false,
        Uuid::now_v7(),
        t,
        Duration::minutes(15),
    );
    let token = signer.sign(&claims, t).await.expect("signs");
    assert_eq!(signer.verify(&token, t).await, Ok(claims.clone()));
    assert_eq!(
        signer.verify(&token, t - Duration::seconds(29)).await,
        Ok(claims.clone())
    );
    assert_eq!(
        signer.verify(&token, t - Duration::seconds(40)).await,
        Err(Refused::Invalid)
    );
    assert_eq!(
        signer.verify(&token, t + Duration::minutes(15)).await,
        Err(Refused::Expired)
    );
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    for forged in [
        format!("{head}."),
        format!("{head}.{}", signature.replace('A', "B") + "A"),
        "a.b.c".to_owned(),
        String::new(),
    ] {
        assert_eq!(
            signer.verify(&forged, t).await,
            Err(Refused::Invalid),
            "{forged}"
        );
    }
    let stranger = jsonwebtoken::EncodingKey::from_secret(b"guess");
    let hs256 = jsonwebtoken::Header {
        kid: jsonwebtoken::decode_header(&token).expect("a header").kid,
        ..jsonwebtoken::Header::default()
    };
    let forged = jsonwebtoken::encode(&hs256, &claims, &stranger).expect("signs");
    assert_eq!(signer.verify(&forged, t).await, Err(Refused::Invalid));
}

#[sqlx::test(migrations = "../migrations")]
async fn replicas_starting_at_once_agree_on_one_key_and_a_rotation_is_announced_first(
    db: sqlx::PgPool,
) {
    let db = PgPool::from(db);
    let (master, t) = (master(), now());
    let (one, two) = tokio::join!(Signer::load(&db, &master), Signer::load(&db, &master));
    let (one, two) = (one.expect("loads"), two.expect("loads"));
    let kids =
        |keys: Vec<tokens::PublicKey>| keys.into_iter().map(|key| key.kid).collect::<Vec<_>>();
    let first = kids(one.public_keys(t).await);
    assert_eq!((first.len(), &first), (1, &kids(two.public_keys(t).await)));
    assert!(
        Signer::load(&db, &MasterKey::new([8; 32])).await.is_err(),
        "another master key cannot read them"
    );

    let (fresh, active_at) = tokens::rotate(&db, &master, t)
        .await
        .expect("rotates")
        .expect("nobody else does");
    assert_eq!(active_at, t + Duration::minutes(10));
    let soon = t + Duration::minutes(2);
    assert_eq!(
        kids(one.public_keys(soon).await),
        [fresh.clone(), first[0].clone()]
    );
    let claims = |at| {
        Claims::new(
            Uuid::nil(),
            None,
            "support",
            false,
            Uuid::nil(),
            at,
            Duration::minutes(15),
        )
    };
    let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a header").kid;
    let before = one.sign(&claims(soon), soon).await.expect("signs");
    assert_eq!(
        kid(&before).as_ref(),
        Some(&first[0]),
        "clients may not know the new key yet"
    );
    let after = one
        .sign(&claims(active_at), active_at)
        .await
        .expect("signs");
    assert_eq!(kid(&after), Some(fresh.clone()));
    assert!(
        two.verify(&after, active_at).await.is_ok(),
        "the other replica reads the keys again"
    );
    assert_eq!(
        kids(
            one.public_keys(active_at + Duration::days(7) + Duration::minutes(2))
                .await
        ),
        [fresh]
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn an_api_key_does_what_its_scopes_say_until_it_ends(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let (account, _) = account(&db, "budi@example.com", AccountKind::Customer).await;
    let mut connection = db.acquire().await.expect("a connection");
    let held = permissions::of_role("owner");
    let refused = create_key(
        &mut connection,
        key(account, &["orders", "wallet.adjust"]),
        &held,
        now(),
    )
    .await;
    assert!(matches!(refused, Err(Error::UnknownScope { scope }) if scope == "wallet.adjust"));

    let (made, secret) = create_key(
        &mut connection,
        key(account, &["orders", "wallet.read"]),
        &held,
        now(),
    )
    .await
    .expect("makes a key");
    assert!(secret.starts_with("sk_") && secret.len() > 40);
    let caller = authenticate_key(&db, &secret, now())
        .await
        .expect("authenticates");
    assert_eq!(
        (
            caller.account,
            caller.principal,
            caller.kind,
            caller.sandbox
        ),
        (Some(account), made.id.0, CallerKind::ApiKey, true)
    );
    assert_eq!(
        &*caller.permissions,
        [
            "orders.cancel",
            "orders.place",
            "orders.read",
            "wallet.read"
        ]
    );

    let reason = async |secret: &str, at| {
        status::reason_of(
            &authenticate_key(&db, secret, at)
                .await
                .expect_err("is refused"),
        )
    };
    assert_eq!(
        reason(&secret, now() + Duration::days(2)).await.as_deref(),
        Some("UNAUTHENTICATED")
    );
    assert_eq!(
        reason("sk_guess", now()).await.as_deref(),
        Some("UNAUTHENTICATED")
    );
    sqlx::query!("update accounts set suspended_at = now()")
        .execute(&db)
        .await
        .expect("suspends");
    assert_eq!(
        reason(&secret, now()).await.as_deref(),
        Some("ACCOUNT_SUSPENDED")
    );
    sqlx::query!("update accounts set suspended_at = null")
        .execute(&db)
        .await
        .expect("resumes");

    assert!(
        matches!(
            revoke_key(&mut connection, AccountId::new(), made.id, now()).await,
            Err(Error::ApiKeyNotFound)
        ),
        "a foreign key looks missing"
    );
    revoke_key(&mut connection, account, made.id, now())
        .await
        .expect("revokes");
    revoke_key(&mut connection, account, made.id, now())
        .await
        .expect("revokes again");
    assert_eq!(
        reason(&secret, now()).await.as_deref(),
        Some("UNAUTHENTICATED")
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn keys_beyond_the_limit_are_refused_also_when_made_at_once(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let (account, _) = account(&db, "budi@example.com", AccountKind::Customer).await;
    let held = permissions::of_role("owner");
    let mut connection = db.acquire().await.expect("a connection");
    for _ in 0..model::LIVE_KEYS - 1 {
        create_key(&mut connection, key(account, &["orders"]), &held, now())
            .await
            .expect("makes a key");
    }
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (db, held) = (db.clone(), held.clone());
            tokio::spawn(async move {
                let mut tx = db.begin().await.expect("begins");
                let made = create_key(&mut tx, key(account, &["orders"]), &held, now()).await;
                tx.commit().await.expect("commits");
                made
            })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        match call.await.expect("joins") {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, Error::ApiKeyLimit), "{error:?}"),
        }
    }
    assert_eq!(made, 1);
    let newest = list_keys(&mut connection, account, None, 2)
        .await
        .expect("lists");
    let next = list_keys(&mut connection, account, newest.last().map(|k| k.id.0), 100)
        .await
        .expect("lists");
    assert_eq!((newest.len(), next.len()), (2, 48));
    assert!(newest.iter().chain(&next).is_sorted_by(|a, b| a.id > b.id));
}
