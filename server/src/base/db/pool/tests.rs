//! Connections that break while nobody uses them.

use super::*;

/// Three connections at hand, all of which have broken.
async fn broken_at_hand(db: &PgPool) {
    let mut used = Vec::new();
    let mut killer = db.begin().await.expect("begins");
    for _ in 0..3 {
        used.push(db.begin().await.expect("begins"));
    }
    for transaction in used {
        transaction.commit().await.expect("commits");
    }
    assert_eq!(db.at_hand.kept.lock().expect("sound").len(), 3);
    let all = "select pg_terminate_backend(pid, 5000) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    killer.execute(all).await.expect("kills them");
}

#[sqlx::test(migrations = false)]
async fn a_transaction_begins_although_every_connection_at_hand_broke(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    broken_at_hand(&db).await;
    let mut transaction = db.begin().await.expect("begins on another");
    transaction.execute("select 1").await.expect("works");
    transaction.commit().await.expect("commits");
}

#[sqlx::test(migrations = false)]
async fn one_that_broke_takes_the_others_along(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    broken_at_hand(&db).await;
    // What was sent may have been done, so it is not sent again; but nobody else meets the other two.
    assert!((&db).execute("select 1").await.is_err());
    (&db).execute("select 1").await.expect("works");
}

#[sqlx::test(migrations = false)]
async fn a_database_is_there_although_every_connection_at_hand_broke(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    broken_at_hand(&db).await;
    crate::base::db::ping(&db).await.expect("is there");
}
