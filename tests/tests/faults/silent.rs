//! One row among a million postings is changed by hand, and is named within a minute. [R17]

use std::time::Instant;

use sewa_tests::patience::eventually;
use sewa_tests::random::Random;
use sewa_tests::{Settings, World, seed, soak};

/// Journals of an account that adjust its balance (2 postings each), and orders after them (5 postings each).
const ADJUSTMENTS: i64 = 150;
const ORDERS: i64 = 40;

/// Accounts with books that are right: adjustments, then orders that were held and captured.
const BOOKS: [&str; 5] = [
    "create temporary table many as select ('10000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as account_id from generate_series(1, $1) n",
    "insert into accounts (id, kind, name, sandbox, created_at) select account_id, 1, 'Toko', false, now() from many",
    "insert into journals (account_id, id, kind, subject_id, description, available, adjustment, available_after, held_after, recorded_at)
        select account_id, ('20000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 7, '00000000-0000-0000-0000-000000000000', 'a gift', 1000, -1000, 1000 * n, 0, now()
        from many, generate_series(1, $1) n",
    "insert into journals (account_id, id, kind, subject_id, closes, description, available, held, revenue, ppn_payable, available_after, held_after, recorded_at)
        select account_id, ('30000000-0000-7000-8000-' || lpad(to_hex(2 * n + closing), 12, '0'))::uuid, 2 + closing,
            ('40000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
            case closing when 1 then ('30000000-0000-7000-8000-' || lpad(to_hex(2 * n), 12, '0'))::uuid end, 'an order',
            -1110 * (1 - closing), 1110 * (1 - 2 * closing), 1000 * closing, 110 * closing, 150000 - 1110 * n, 1110 * (1 - closing), now()
        from many, generate_series(1, $1) n, generate_series(0, 1) closing",
    "insert into orders (account_id, id, state, payment, plan_id, region_id, image_id, period, hostname, auto_renew, labels, subtotal, tax, total, plan_name,
            instance_id, operation_id, hold_id, history, next_attempt_at, deadline_at, revision, created_at, updated_at)
        select account_id, ('40000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'ACTIVE', 1, account_id, account_id, account_id, 2, 'web', true, '{}',
            1000, 110, 1110, 'VPS', gen_random_uuid(), gen_random_uuid(), ('30000000-0000-7000-8000-' || lpad(to_hex(2 * n), 12, '0'))::uuid,
            '[{\"from\": null, \"to\": \"PAID\"}, {\"from\": \"PAID\", \"to\": \"PROVISIONING\"}, {\"from\": \"PROVISIONING\", \"to\": \"ACTIVE\"}]',
            now(), now(), 3, now(), now()
        from many, generate_series(1, $1) n",
];

async fn keep_books(world: &World, accounts: i64) {
    let mut database = world.behind_the_scenes().await;
    for (statement, count) in BOOKS
        .into_iter()
        .zip([accounts, 0, ADJUSTMENTS, ORDERS, ORDERS])
    {
        let statement = sqlx::query(statement);
        let statement = if count == 0 {
            statement
        } else {
            statement.bind(count)
        };
        statement.execute(&mut database).await.unwrap();
    }
    let heads = "insert into balances (account_id, available, last_journal_id, updated_at)
        select account_id, 150000 - 1110 * $1, ('30000000-0000-7000-8000-' || lpad(to_hex(2 * $1 + 1), 12, '0'))::uuid, now() from many";
    sqlx::query(heads)
        .bind(ORDERS)
        .execute(&mut database)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posting_changed_by_hand_is_named_among_a_million() {
    let mut random = Random::from_seed(seed());
    let accounts = if soak() > 1 { 2000 } else { 40 };
    // The server comes when the books are there, so that its rounds go through all of them.
    let mut world = World::with(Settings::default().with("PROOF_REST_SECONDS", 10)).await;
    world.servers[0].kill();
    keep_books(&world, accounts).await;
    tokio::task::block_in_place(|| world.servers[0].start_again().unwrap());
    let began = Instant::now();
    world.prove();
    let proof = began.elapsed();
    let mut database = world.behind_the_scenes().await;
    for _ in 0..soak().min(5) {
        let number = 1 + i64::try_from(random.below(accounts.unsigned_abs())).unwrap();
        let change = "update journals set available = available + $2, adjustment = adjustment - $2
            where account_id = ('10000000-0000-7000-8000-' || lpad(to_hex($1), 12, '0'))::uuid and id = '20000000-0000-7000-8000-000000000007'";
        let by_hand = async |amount: i64, database: &mut sqlx::PgConnection| {
            let done = sqlx::query(change)
                .bind(number)
                .bind(amount)
                .execute(database)
                .await
                .unwrap();
            assert_eq!(done.rows_affected(), 1);
        };
        by_hand(1, &mut database).await;
        let began = Instant::now();
        let frozen = eventually("its wallet is frozen", || async {
            let mut database = world.behind_the_scenes().await;
            let frozen: Vec<(String, String)> = sqlx::query_as("select right(account_id::text, 12), frozen_for from balances where frozen_at is not null")
                .fetch_all(&mut database)
                .await
                .unwrap();
            if frozen.is_empty() { Err(()) } else { Ok(frozen) }
        })
        .await;
        let named = "balance_after_is_running_sum: journals 20000000-0000-7000-8000-000000000007";
        assert_eq!(frozen, [(format!("{number:012x}"), named.to_owned())]);
        let postings = accounts * (2 * ADJUSTMENTS + 5 * ORDERS);
        println!(
            "{postings} postings: a proof of all takes {proof:?}; a row changed by hand was named after {:?}",
            began.elapsed()
        );
        by_hand(-1, &mut database).await;
        sqlx::query(
            "update balances set frozen_at = null, frozen_for = null where frozen_at is not null",
        )
        .execute(&mut database)
        .await
        .unwrap();
    }
}
