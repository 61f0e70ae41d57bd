//! Orders: the wire.

use sewa_sdk::sewa::order::v1::order_service_server::OrderService;
use sewa_sdk::sewa::order::v1::{
    ApproveOrderPaymentRequest, ApproveOrderPaymentResponse, CancelOrderRequest,
    CancelOrderResponse, GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse,
    Payment as PaymentProto, PlaceOrderRequest, PlaceOrderResponse, PreviewOrderRequest,
    PreviewOrderResponse, RejectOrderPaymentRequest, RejectOrderPaymentResponse, RetryOrderRequest,
    RetryOrderResponse, SearchOrdersRequest, SearchOrdersResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, OrderId, PlanId};
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::writes::{self, Claim, Write};
use crate::base::{outbox, status, time};
use crate::service::catalog;
use crate::service::order::error::Error;
use crate::service::order::model::{Order, Payment};
use crate::service::order::{self, convert, place, store};
use sewa_sdk::sewa::event::v1::EventType;

/// Serves `OrderService`.
pub struct Orders {
    /// The parts.
    pub app: App,
}

impl Orders {
    /// The account an order belongs to, for staff methods, which name only the order.
    async fn account_of(&self, id: OrderId) -> Result<AccountId, Status> {
        let order = store::get_any(&self.app.db, id)
            .await
            .map_err(|e| status::database(&e))?;
        Ok(order.ok_or(Error::OrderNotFound)?.account)
    }
}

#[tonic::async_trait]
impl OrderService for Orders {
    async fn preview_order(
        &self,
        request: Request<PreviewOrderRequest>,
    ) -> Result<Response<PreviewOrderResponse>, Status> {
        let call = Call::of(&request)?;
        let draft = convert::draft(request.into_inner().draft)?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let quote = order::quote(&catalogue, &draft, call.caller.sandbox, call.now)?;
        Ok(Response::new(PreviewOrderResponse {
            quote: Some(convert::quote(&quote)),
        }))
    }

    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let payment = if request.payment() == PaymentProto::StaffApproval {
            Payment::StaffApproval
        } else {
            Payment::Wallet
        };
        let draft = convert::draft(request.draft)?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let quoted =
            order::quote(&catalogue, &draft, call.caller.sandbox, call.now).and_then(|quote| {
                match &request.expected_total {
                    Some(expected) if expected.units != quote.total.0 => Err(Error::PriceChanged {
                        expected: Rupiah(expected.units),
                        total: quote.total,
                    }),
                    _ => Ok(quote),
                }
            });
        let quote = match quoted {
            Ok(quote) => quote,
            Err(refused) => return refuse_kept(&self.app, &call, refused).await,
        };
        let reference = Some(request.client_reference).filter(|r| !r.is_empty());
        let order = place::new_order(
            &self.app,
            call.caller.account()?,
            draft,
            quote,
            payment,
            reference,
            call.caller.actor(),
        );
        if payment == Payment::Wallet {
            return place::from_wallet(&self.app, call, order).await;
        }
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = wait_for_payment(&mut write.tx, &order).await;
        let reply = write
            .finish(
                outcome
                    .map(|()| PlaceOrderResponse {
                        order: Some(convert::order(&order, true)),
                        operation: None,
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.tail.wake();
        reply
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let call = Call::of(&request)?;
        let id = OrderId::parse("order_id", &request.get_ref().order_id)?;
        let order = match call.caller.account {
            Some(account) => store::get(&self.app.db, account, id)
                .await
                .map(|o| o.map(|o| convert::order(&o, true))),
            None => store::get_any(&self.app.db, id)
                .await
                .map(|o| o.map(|o| convert::order_for_staff(&o, true))),
        };
        let order = order
            .map_err(|e| status::database(&e))?
            .ok_or(Error::OrderNotFound)?;
        Ok(Response::new(GetOrderResponse { order: Some(order) }))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let span = format!("{:?} {:?}", request.placed_from, request.placed_before);
        let binding = [
            "orders",
            &account.to_string(),
            &request.state.to_string(),
            &request.plan_id,
            &request.client_reference,
            &span,
        ];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let filter = store::Filter {
            before: page.after_as::<Uuid>()?,
            state: convert::state_filter(request.state),
            plan: if request.plan_id.is_empty() {
                None
            } else {
                Some(PlanId::parse("plan_id", &request.plan_id)?.0)
            },
            client_reference: request.client_reference,
            from: request.placed_from.as_ref().and_then(time::from_proto),
            until: request.placed_before.as_ref().and_then(time::from_proto),
        };
        let mut listed = store::list(&self.app.db, account, &filter, page.limit())
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |o| o.id.to_string());
        Ok(Response::new(ListOrdersResponse {
            orders: listed.iter().map(|o| convert::order(o, false)).collect(),
            next_page_token,
        }))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = OrderId::parse("order_id", &request.order_id)?;
        let account = call.caller.account()?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let reason = if request.reason.is_empty() {
            "called off by its owner"
        } else {
            &request.reason
        };
        keep_before(&mut write, account, id, convert::order).await?;
        let outcome = order::cancel(
            &self.app,
            &mut write.tx,
            account,
            id,
            &call.caller.actor(),
            reason,
        )
        .await;
        let reply = write
            .finish(
                outcome
                    .map(|o| CancelOrderResponse {
                        order: Some(convert::order(&o, true)),
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.tail.wake();
        reply
    }

    async fn search_orders(
        &self,
        request: Request<SearchOrdersRequest>,
    ) -> Result<Response<SearchOrdersResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["search", &request.account_id, &request.state.to_string()],
        )?;
        let (before, state) = (
            page.after_as::<Uuid>()?,
            convert::state_filter(request.state),
        );
        let listed = if request.account_id.is_empty() {
            store::search(&self.app.db, before, state, page.limit()).await
        } else {
            let account = AccountId::parse("account_id", &request.account_id)?;
            store::list(
                &self.app.db,
                account,
                &store::Filter {
                    before,
                    state,
                    ..store::Filter::default()
                },
                page.limit(),
            )
            .await
        };
        let mut listed = listed.map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |o| o.id.to_string());
        Ok(Response::new(SearchOrdersResponse {
            orders: listed
                .iter()
                .map(|o| convert::order_for_staff(o, false))
                .collect(),
            next_page_token,
        }))
    }

    async fn approve_order_payment(
        &self,
        request: Request<ApproveOrderPaymentRequest>,
    ) -> Result<Response<ApproveOrderPaymentResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = OrderId::parse("order_id", &request.order_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let account = self.account_of(id).await?;
        write.about(account);
        keep_before(&mut write, account, id, convert::order_for_staff).await?;
        let outcome = order::approve(
            &self.app,
            &mut write.tx,
            account,
            id,
            &call.caller.actor(),
            &request.reason,
        )
        .await;
        let reply = outcome
            .map(|o| ApproveOrderPaymentResponse {
                order: Some(convert::order_for_staff(&o, true)),
            })
            .map_err(Status::from);
        let reply = write.finish(reply).await;
        self.app.tail.wake();
        reply
    }

    async fn reject_order_payment(
        &self,
        request: Request<RejectOrderPaymentRequest>,
    ) -> Result<Response<RejectOrderPaymentResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = OrderId::parse("order_id", &request.order_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let account = self.account_of(id).await?;
        write.about(account);
        keep_before(&mut write, account, id, convert::order_for_staff).await?;
        let outcome = order::reject(
            &self.app,
            &mut write.tx,
            account,
            id,
            &call.caller.actor(),
            &request.reason,
        )
        .await;
        let reply = outcome
            .map(|o| RejectOrderPaymentResponse {
                order: Some(convert::order_for_staff(&o, true)),
            })
            .map_err(Status::from);
        let reply = write.finish(reply).await;
        self.app.tail.wake();
        reply
    }

    async fn retry_order(
        &self,
        request: Request<RetryOrderRequest>,
    ) -> Result<Response<RetryOrderResponse>, Status> {
        let call = Call::of(&request)?;
        let id = OrderId::parse("order_id", &request.get_ref().order_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let account = self.account_of(id).await?;
        write.about(account);
        keep_before(&mut write, account, id, convert::order_for_staff).await?;
        let outcome = order::retry(&self.app, &mut write.tx, account, id).await;
        write
            .finish(
                outcome
                    .map(|o| RetryOrderResponse {
                        order: Some(convert::order_for_staff(&o, true)),
                    })
                    .map_err(Status::from),
            )
            .await
    }
}

/// Keeps an order as it is for the audit trail, and nobody changes it meanwhile.
async fn keep_before(
    write: &mut Write<'_>,
    account: AccountId,
    id: OrderId,
    show: fn(&Order, bool) -> sewa_sdk::sewa::order::v1::Order,
) -> Result<(), Status> {
    let found = store::get_for_update(&mut write.tx, account, id)
        .await
        .map_err(|e| status::database(&e))?;
    if let Some(order) = found {
        write.keep_before(&show(&order, true));
    }
    Ok(())
}

/// A refusal decided before the ledger was asked is an outcome of the call all the same: it is kept for a repeat of the key.
async fn refuse_kept(
    app: &App,
    call: &Call,
    refused: Error,
) -> Result<Response<PlaceOrderResponse>, Status> {
    match writes::begin(&app.db, call).await? {
        Claim::Fresh(write) => write.finish(Err(refused.into())).await,
        Claim::Repeat(stored) => stored.reply(call),
    }
}

async fn wait_for_payment(connection: &mut sqlx::PgConnection, order: &Order) -> Result<(), Error> {
    store::insert(connection, &[order]).await?;
    outbox::insert(
        connection,
        &[order::news(order, EventType::OrderPlaced, "")],
    )
    .await?;
    Ok(())
}
