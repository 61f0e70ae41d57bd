//! The order and completeness of the audit list, which the database decides.

use chrono::Duration;
use sewa_sdk::sewa::identity::v1::{CreateApiKeyResponse, Profile};
use uuid::Uuid;

use super::audit;
use super::store::audit::Filter;
use super::tokens::Signer;
use crate::base::clock::Clock;
use crate::base::crypto::MasterKey;
use crate::base::db::PgPool;
use crate::base::id::AccountId;

#[sqlx::test(migrations = "../migrations")]
async fn the_audit_list_reads_every_row_once_in_order(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    Signer::load(&db, &MasterKey::new([7; 32]))
        .await
        .expect("loads");
    sqlx::query!("update signing_keys set created_at = created_at - interval '400 days'")
        .execute(&db)
        .await
        .expect("ages the platform");
    let (mine, t) = (AccountId::new(), Clock.now());
    let before = prost_types::Any::from_msg(&Profile {
        name: "Old".to_owned(),
        ..Profile::default()
    })
    .expect("encodes");
    // Three rows share a moment, and the oldest lies far beyond the first windows.
    for (i, age) in [0, 60, 60, 60, 7200, 86_400 * 300].into_iter().enumerate() {
        for account in [mine.0, Uuid::nil()] {
            let reply = CreateApiKeyResponse {
                api_key: None,
                secret: "sk_planted".to_owned(),
            };
            sqlx::query!(
                "insert into writes (account_id, principal_id, method, key, fingerprint, code, reply, request, before, request_id, ip, recorded_at)
                values ($1, $1, 'sewa.identity.v1.IdentityService/CreateApiKey', $2, '', 0, $3, '', $4, 'r', '127.0.0.1', $5)",
                account,
                if i == 0 { format!("auto-{i}") } else { format!("key {i}") },
                prost::Message::encode_to_vec(&reply),
                prost::Message::encode_to_vec(&before),
                t - Duration::seconds(age),
            )
            .execute(&db)
            .await
            .expect("inserts");
        }
    }
    for (account, expected) in [(Some(mine), 6), (None, 12)] {
        let filter = Filter {
            with_staff: true,
            account,
            method: String::new(),
        };
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (entries, next) = audit::list(&db, &Clock, &filter, 2, &token, t)
                .await
                .expect("lists");
            seen.extend(entries);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen.len(), expected);
        assert!(seen.is_sorted_by_key(|e| std::cmp::Reverse(e.record_time.map(|t| t.seconds))));
        let distinct: std::collections::BTreeSet<_> = seen
            .iter()
            .map(|e| (e.account_id.clone(), e.idempotency_key.clone()))
            .collect();
        assert_eq!(distinct.len(), expected);
        assert!(
            seen.iter()
                .all(|e| !e.reply_json.contains("planted") && e.before_json.contains("Old")),
            "{seen:?}"
        );
    }
    let other = Filter {
        account: None,
        with_staff: true,
        method: "sewa.order.v1.OrderService/PlaceOrder".to_owned(),
    };
    assert!(
        audit::list(&db, &Clock, &other, 2, "", t)
            .await
            .expect("lists")
            .0
            .is_empty()
    );
}
