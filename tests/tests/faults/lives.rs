//! What a customer does in a life, each call repeated with its key until it is answered. The process may be aborted at any moment of it, so what becomes of things is
//! read from the database.

use std::time::Duration;

use sewa_payment_simulators::Status;
use sewa_payment_simulators::tripay::Tripay;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::catalog::v1::ListPlansRequest;
use sewa_sdk::sewa::instance::v1::DeleteInstanceRequest;
use sewa_sdk::sewa::lifecycle::v1::ChangePlanRequest;
use sewa_sdk::sewa::order::v1::{OrderDraft, Payment, PlaceOrderRequest};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::sandbox::v1::{
    AdvanceTestClockRequest, ClearFaultsRequest, InjectFaultRequest, SettleDepositRequest,
};
use sewa_sdk::sewa::wallet::v1::CreateDepositRequest;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, keyed, until_answered};
use sqlx::PgConnection;
use uuid::Uuid;

/// Ways a customer may go. Each is a life of its own, so that none has to be lived twice for the sake of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Is refused, buys, is renewed, suspended and resumed, takes a larger plan, deletes, and is given money back, by the time of a test clock.
    Clock,
    /// Buys and is renewed, by the platform's time.
    Time,
    /// Pays by a gateway.
    Gateway,
}

/// Who lives a life: one who plays with a clock, one who lives by the platform's, and one who pays for real.
pub(crate) struct People {
    budi: Actor,
    ani: Actor,
    draft: OrderDraft,
    /// A plan that costs about half as much again.
    larger: String,
    total: i64,
    siti: Actor,
}

impl People {
    pub(crate) async fn new(world: &World) -> Self {
        let (budi, ani) = (world.reseller().await, world.reseller().await);
        let siti = world.real_reseller().await;
        budi.take_a_clock().await;
        let draft = budi.draft("web").await;
        let plans = budi
            .catalog()
            .list_plans(ListPlansRequest::default())
            .await
            .unwrap()
            .into_inner()
            .plans;
        let larger = plans.into_iter().find(|plan| plan.code == "vps-1-1");
        let larger = larger.expect("a plan of the first catalogue").id;
        let total = rupiah(budi.preview(&draft).await.unwrap().total.as_ref());
        Self {
            budi,
            ani,
            draft,
            larger,
            total,
            siti,
        }
    }

    pub(crate) async fn live(
        &self,
        way: Way,
        mut database: PgConnection,
        tripay: &Tripay,
        callbacks: &str,
    ) {
        match way {
            Way::Clock => self.lives_by_a_clock(database).await,
            Way::Time => self.is_renewed_in_time(&mut database).await,
            Way::Gateway => self.pays_for_real(&mut database, tripay, callbacks).await,
        }
    }

    async fn lives_by_a_clock(&self, mut database: PgConnection) {
        self.is_refused().await;
        self.pays_in(&self.budi, "first", 2 * self.total).await;
        let order = self.orders(&self.budi, "buy").await;
        until(
            &mut database,
            &order,
            "select state from orders where id = $1",
            "ACTIVE",
        )
        .await;
        let machine: Uuid = sqlx::query_scalar("select instance_id from orders where id = $1")
            .bind(order)
            .fetch_one(&mut database)
            .await
            .unwrap();
        // A month later it is renewed; another month later there is no money.
        self.lets_pass("renewal", 31, &mut database).await;
        self.lets_pass("suspension", 33, &mut database).await;
        let state = "select state from instances where id = $1";
        until(&mut database, &machine, state, "SUSPENDED").await;
        self.pays_in(&self.budi, "second", 3 * self.total).await;
        until(&mut database, &machine, state, "RUNNING").await;
        let request = ChangePlanRequest {
            instance_id: machine.to_string(),
            plan_id: self.larger.clone(),
            ..Default::default()
        };
        answered("upgrade", &self.budi, request, |b, r| async move {
            b.lifecycle().change_plan(r).await
        })
        .await;
        let changed = "select state from plan_changes where instance_id = $1";
        until(&mut database, &machine, changed, "DONE").await;
        self.deletes(&machine).await;
        until(&mut database, &machine, state, "DELETED").await;
        // A cloud without room gives the money back.
        let request = InjectFaultRequest {
            kind: FaultKind::NoCapacity.into(),
            times: 0,
        };
        answered("full", &self.budi, request, |b, r| async move {
            b.sandbox().inject_fault(r).await
        })
        .await;
        let refused = self.orders(&self.budi, "refund").await;
        until(
            &mut database,
            &refused,
            "select state from orders where id = $1",
            "REFUNDED",
        )
        .await;
        answered(
            "room",
            &self.budi,
            ClearFaultsRequest {},
            |b, r| async move { b.sandbox().clear_faults(r).await },
        )
        .await;
    }

    /// A renewal by the platform's own time. Nobody waits a month for a test.
    async fn is_renewed_in_time(&self, database: &mut PgConnection) {
        self.pays_in(&self.ani, "third", 2 * self.total).await;
        let order = self.orders(&self.ani, "keep").await;
        let state = "select state from orders where id = $1";
        until(database, &order, state, "ACTIVE").await;
        let account: Uuid = self.ani.account_id.parse().unwrap();
        let month = "with periods as (
                update renewals set ends_at = ends_at - interval '40 days', starts_at = starts_at - interval '40 days' where account_id = $1
            )
            update subscriptions set anchor_at = anchor_at - interval '40 days', paid_until = paid_until - interval '40 days',
                next_step_at = next_step_at - interval '40 days' where account_id = $1";
        sqlx::query(month)
            .bind(account)
            .execute(&mut *database)
            .await
            .unwrap();
        let periods = "select period_number::text from subscriptions where account_id = $1";
        until(database, &account, periods, "2").await;
    }

    /// What is refused is kept for its key, too.
    async fn is_refused(&self) {
        let request = PlaceOrderRequest {
            draft: Some(self.draft.clone()),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        until_refused("INSUFFICIENT_BALANCE", || {
            let request = keyed("too-poor", request.clone());
            async move { self.budi.orders().place_order(request).await.map(drop) }
        })
        .await;
        let request = DeleteInstanceRequest {
            instance_id: NOBODYS_ID.to_owned(),
            confirm_hostname: self.draft.hostname.clone(),
            ..Default::default()
        };
        until_refused("INSTANCE_NOT_FOUND", || {
            let request = keyed("nobodys", request.clone());
            async move {
                self.budi
                    .instances()
                    .delete_instance(request)
                    .await
                    .map(drop)
            }
        })
        .await;
    }

    async fn pays_in(&self, who: &Actor, key: &str, amount: i64) {
        let request = CreateDepositRequest {
            amount: Some(Money::idr(amount)),
            method: Method::Sandbox.into(),
            ..Default::default()
        };
        let opened = answered(&format!("open-{key}"), who, request, |b, r| async move {
            b.wallet().create_deposit(r).await
        })
        .await;
        let request = SettleDepositRequest {
            deposit_id: opened.deposit.unwrap().id,
            outcome: Outcome::Paid.into(),
        };
        answered(&format!("pay-{key}"), who, request, |b, r| async move {
            b.sandbox().settle_deposit(r).await
        })
        .await;
    }

    async fn orders(&self, who: &Actor, key: &str) -> Uuid {
        let request = PlaceOrderRequest {
            draft: Some(self.draft.clone()),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        let placed = answered(key, who, request, |b, r| async move {
            b.orders().place_order(r).await
        })
        .await;
        placed.order.unwrap().id.parse().unwrap()
    }

    async fn lets_pass(&self, key: &str, days: i64, database: &mut PgConnection) {
        let request = AdvanceTestClockRequest {
            duration: Some(prost_types::Duration {
                seconds: days * 86_400,
                nanos: 0,
            }),
        };
        answered(key, &self.budi, request, |b, r| async move {
            b.sandbox().advance_test_clock(r).await
        })
        .await;
        let account: Uuid = self.budi.account_id.parse().unwrap();
        let stands = "select case when now_at = target_at then 'stands' else 'walks' end from test_clocks where account_id = $1";
        until(database, &account, stands, "stands").await;
    }

    async fn deletes(&self, machine: &Uuid) {
        let request = DeleteInstanceRequest {
            instance_id: machine.to_string(),
            confirm_hostname: self.draft.hostname.clone(),
            ..Default::default()
        };
        answered("delete", &self.budi, request, |b, r| async move {
            b.instances().delete_instance(r).await
        })
        .await;
    }

    async fn pays_for_real(&self, database: &mut PgConnection, tripay: &Tripay, callbacks: &str) {
        let request = CreateDepositRequest {
            amount: Some(Money::idr(50_000)),
            method: Method::Tripay.into(),
            channel: "BRIVA".to_owned(),
            ..Default::default()
        };
        let opened = answered("open-tripay", &self.siti, request, |b, r| async move {
            b.wallet().create_deposit(r).await
        })
        .await;
        let deposit: Uuid = opened.deposit.unwrap().id.parse().unwrap();
        let state = "select state from deposits where id = $1";
        until(database, &deposit, state, "PENDING").await;
        let reference: String =
            sqlx::query_scalar("select gateway_ref from deposits where id = $1")
                .bind(deposit)
                .fetch_one(&mut *database)
                .await
                .unwrap();
        tripay.move_to(&reference, Status::Paid);
        let callback = tripay.callback(&reference);
        // A gateway sends again what was not acknowledged.
        eventually("the callback is acknowledged", || async {
            match callback.send(callbacks).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await;
        until(database, &deposit, state, "PAID").await;
    }
}

/// Makes a call with a key again until it is answered.
async fn answered<T: Clone, R, F>(
    key: &str,
    who: &Actor,
    request: T,
    call: impl Fn(Actor, tonic::Request<T>) -> F,
) -> R
where
    F: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    until_answered(|| call(who.clone(), keyed(key, request.clone()))).await
}

async fn until_refused<F>(reason: &str, mut call: impl FnMut() -> F)
where
    F: Future<Output = Result<(), tonic::Status>>,
{
    eventually("the call is refused", || {
        let calling = call();
        async move {
            let error = sewa_sdk::Error::from(calling.await.expect_err("a refusal"));
            if error.is(reason) { Ok(()) } else { Err(error) }
        }
    })
    .await;
}

/// Waits until a row is in a state, as the database says, since the server may be gone at the moment.
async fn until(database: &mut PgConnection, id: &Uuid, statement: &'static str, wanted: &str) {
    let began = std::time::Instant::now();
    loop {
        let state: Option<String> = sqlx::query_scalar(statement)
            .bind(id)
            .fetch_optional(&mut *database)
            .await
            .unwrap();
        if state.as_deref() == Some(wanted) {
            return;
        }
        assert!(
            began.elapsed() < sewa_tests::patience::PATIENCE,
            "{statement} with {id} is {state:?} and not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
