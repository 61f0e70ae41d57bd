//! Orders: the wire.

use sewa_sdk::sewa::order::v1::order_service_server::OrderService;
use sewa_sdk::sewa::order::v1::{
    ApproveOrderPaymentRequest, ApproveOrderPaymentResponse, CancelOrderRequest,
    CancelOrderResponse, GetOrderRequest, GetOrderResponse, GiveUpOrderRequest,
    GiveUpOrderResponse, ListOrdersRequest, ListOrdersResponse, Payment as PaymentProto,
    PlaceOrderRequest, PlaceOrderResponse, PreviewOrderRequest, PreviewOrderResponse,
    RejectOrderPaymentRequest, RejectOrderPaymentResponse, RetryOrderRequest, RetryOrderResponse,
    SearchOrdersRequest, SearchOrdersResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, OrderId, PlanId};
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::writes::{self, Claim, Write};
use crate::base::{status, time};
use crate::service::instance::boot;
use crate::service::order::error::Error;
use crate::service::order::model::{Order, Payment};
use crate::service::order::{self, alone, convert, direct, place, pricing, store};
use crate::service::wallet::model::Balance;
use crate::service::{billing, catalog, instance};

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
        let quote = pricing::quote(&catalogue, &draft, call.caller.sandbox, call.now)?;
        let (app, caller) = (&self.app, &call.caller);
        let quote = pricing::reduced(app, caller, &catalogue, &draft, quote, call.now).await?;
        let mut shown = convert::quote(&quote);
        if let Some(account) = call.caller.account {
            let found = self.app.reads.balances.get(account).await?;
            let balance = found.map_or(Balance::EMPTY, |(balance, _)| balance);
            shown.wallet = Some(convert::wallet_share(quote.total, &balance));
        }
        Ok(Response::new(PreviewOrderResponse { quote: Some(shown) }))
    }

    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let call = Call::of(&request)?;
        if let Some(stored) = self.app.repeats.find(&call).await? {
            return stored.reply(&call);
        }
        let request = request.into_inner();
        let payment = match request.payment() {
            PaymentProto::StaffApproval => Payment::StaffApproval,
            PaymentProto::Gateway => Payment::Gateway,
            PaymentProto::Wallet | PaymentProto::Unspecified => Payment::Wallet,
        };
        // Not a rule of the contract: for one between two fields the whole of every order would be translated into the language of rules first.
        if request.gateway.is_some() != (payment == Payment::Gateway) {
            return Err(status::invalid(status::Invalid::new(
                "gateway",
                "GATEWAY_WITH_PAYMENT",
                "must be set with PAYMENT_GATEWAY and only then",
            )));
        }
        let draft = convert::draft(request.draft)?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let expected = request.expected_total.as_ref().map(|t| Rupiah(t.units));
        let (app, caller) = (&self.app, &call.caller);
        let quoted = match pricing::quote(&catalogue, &draft, caller.sandbox, call.now) {
            Ok(quote) => pricing::reduced(app, caller, &catalogue, &draft, quote, call.now).await,
            Err(refused) => Err(refused),
        };
        let quoted = quoted.and_then(|quote| match expected {
            Some(expected) if expected != quote.total => Err(Error::PriceChanged {
                expected,
                total: quote.total,
            }),
            _ => Ok(quote),
        });
        let quote = match quoted {
            Ok(quote) => quote,
            Err(refused) => return Box::pin(refuse_kept(&self.app, &call, refused)).await,
        };
        let account = call.caller.account()?;
        if !call.caller.sandbox {
            let complete = billing::complete::is_complete(&self.app, account).await;
            if !complete.map_err(|e| status::database(&e))? {
                let refused = Error::BillingProfileIncomplete;
                return Box::pin(refuse_kept(&self.app, &call, refused)).await;
            }
        }
        let reference = Some(request.client_reference).filter(|r| !r.is_empty());
        let order = place::new_order(
            &self.app,
            account,
            draft,
            quote,
            payment,
            reference,
            call.caller.actor(),
        );
        let given = boot::Asked {
            keys: instance::convert::ssh_key_ids(&request.ssh_key_ids)?,
            user_data: request.user_data,
        };
        let provider = catalogue.plan(order.draft.plan).map(|p| &p.provider);
        let can = provider.and_then(|name| self.app.providers.capabilities_of(name));
        if !given.user_data.is_empty() && can.is_some_and(|can| !can.user_data) {
            return Err(status::invalid(status::Invalid::new(
                "user_data",
                "NOT_SUPPORTED_BY_PROVIDER",
                "must be empty: the plan's provider takes none",
            )));
        }
        // Only the first way is common. The others are boxed, or every order would carry the room for them.
        match payment {
            Payment::Wallet if !order.quote.is_reduced() && given.is_nothing() => {
                place::from_wallet(&self.app, call, order).await
            }
            Payment::Gateway => {
                let way = request.gateway.unwrap_or_default();
                Box::pin(direct::place(&self.app, &call, order, &given, way)).await
            }
            Payment::Wallet | Payment::StaffApproval => {
                Box::pin(place_alone(&self.app, &call, order, &given, expected)).await
            }
        }
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let call = Call::of(&request)?;
        let id = OrderId::parse("order_id", &request.get_ref().order_id)?;
        let order = match call.caller.account {
            Some(account) => {
                let found = self.app.reads.orders.get((account, id)).await?;
                found.map(|o| convert::order(&o, true))
            }
            None => {
                let found = store::get_any(&self.app.db, id).await;
                let found = found.map_err(|e| status::database(&e))?;
                found.map(|o| convert::order_for_staff(&o, true))
            }
        };
        let order = order.ok_or(Error::OrderNotFound)?;
        let order = direct::show(&self.app, order)
            .await
            .map_err(|e| status::database(&e))?;
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

    async fn give_up_order(
        &self,
        request: Request<GiveUpOrderRequest>,
    ) -> Result<Response<GiveUpOrderResponse>, Status> {
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
        let actor = call.caller.actor();
        let why = (actor.as_str(), request.reason.as_str());
        let outcome = order::give_up(&self.app, &mut write.tx, account, id, why).await;
        let outcome = outcome.map(|o| GiveUpOrderResponse {
            order: Some(convert::order_for_staff(&o, true)),
        });
        let reply = write.finish(outcome.map_err(Status::from)).await;
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

/// Places an order in a transaction of its own.
async fn place_alone(
    app: &App,
    call: &Call,
    order: Order,
    given: &boot::Asked,
    expected: Option<Rupiah>,
) -> Result<Response<PlaceOrderResponse>, Status> {
    let mut write = match writes::begin(&app.db, call).await? {
        Claim::Fresh(write) => write,
        Claim::Repeat(stored) => return stored.reply(call),
    };
    let outcome = alone::place(app, &call.caller, &mut write.tx, order, given, expected).await;
    let reply = write.finish(outcome.map_err(Status::from)).await;
    app.tail.wake();
    reply
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
