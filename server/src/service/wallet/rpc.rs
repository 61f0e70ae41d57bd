//! Wallet: the wire.

use std::collections::HashMap;

use futures_util::future::join_all;
use sewa_sdk::sewa::wallet::v1 as proto;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_sdk::sewa::wallet::v1::wallet_service_server::WalletService;
use sewa_sdk::sewa::wallet::v1::{
    AdjustWalletRequest, AdjustWalletResponse, ConfirmDepositRequest, ConfirmDepositResponse,
    CreateDepositRequest, CreateDepositResponse, GetDepositRequest, GetDepositResponse,
    GetWalletRequest, GetWalletResponse, ListDepositChannelsRequest, ListDepositChannelsResponse,
    ListDepositsRequest, ListDepositsResponse, ListDepositsToConfirmRequest,
    ListDepositsToConfirmResponse, ListTransactionsRequest, ListTransactionsResponse,
    PreviewDepositRequest, PreviewDepositResponse, ProveLedgerRequest, ProveLedgerResponse,
    UnfreezeWalletRequest, UnfreezeWalletResponse,
};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::prove::{self, Scope};
use crate::provider::payment::Channel;
use crate::service::promotion;
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::error::Error;
use crate::service::wallet::model::Balance;
use crate::service::wallet::store::{deposits, payments, queue};
use crate::service::wallet::{self, bank, bonus, convert, gateway, store};

/// Serves `WalletService`.
pub struct Wallet {
    /// The parts.
    pub app: App,
}

/// A deposit with everything that is known of it.
async fn whole(connection: &mut PgConnection, deposit: &Deposit) -> Result<proto::Deposit, Error> {
    let (account, id) = (deposit.account, deposit.id);
    let payments = payments::list_payments(connection, account, id).await?;
    let half = payments::count_half_confirmed(connection, account, id).await?;
    let given = promotion::store::given_for(connection, id).await?;
    Ok(convert::whole_deposit(deposit, &payments, half, &given))
}

#[tonic::async_trait]
impl WalletService for Wallet {
    async fn get_wallet(
        &self,
        request: Request<GetWalletRequest>,
    ) -> Result<Response<GetWalletResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account_or(&request.get_ref().account_id)?;
        let found = self.app.reads.balances.get(account).await?;
        if found.is_none()
            && call.caller.account.is_none()
            && !store::account_exists(&self.app.db, account)
                .await
                .map_err(|e| status::database(&e))?
        {
            return Err(Error::AccountNotFound.into());
        }
        let (balance, updated_at) =
            found.map_or((Balance::EMPTY, None), |(balance, at)| (balance, Some(at)));
        Ok(Response::new(GetWalletResponse {
            wallet: Some(convert::wallet(account, &balance, updated_at)),
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<ListTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &[
                "transactions",
                &account.to_string(),
                &request.kind.to_string(),
            ],
        )?;
        let kind = i16::try_from(request.kind).unwrap_or(0);
        let mut listed = store::list_journals(
            &self.app.db,
            account,
            page.after_as::<Uuid>()?,
            kind,
            page.limit(),
        )
        .await
        .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |t| t.id.to_string());
        Ok(Response::new(ListTransactionsResponse {
            transactions: listed.iter().map(convert::transaction).collect(),
            next_page_token,
        }))
    }

    async fn list_deposit_channels(
        &self,
        request: Request<ListDepositChannelsRequest>,
    ) -> Result<Response<ListDepositChannelsResponse>, Status> {
        let call = Call::of(&request)?;
        let amount = request.get_ref().amount.as_ref();
        let amount = amount
            .map(|amount| Rupiah::from_proto("amount", amount))
            .transpose()?;
        let mut channels = Vec::new();
        if call.caller.sandbox {
            channels.push(convert::sandbox_channel(amount.is_some()));
        } else {
            let asked = self.app.gateways.all().iter().map(async |entry| {
                let channels = entry.channels().await;
                let fees = match amount {
                    Some(amount) => entry.fees(amount).await,
                    None => HashMap::new(),
                };
                (entry.method, channels, fees)
            });
            for (method, found, fees) in join_all(asked).await {
                let fee = |c: &Channel| fees.get(&c.code).copied();
                channels.extend(found.iter().map(|c| convert::channel(method, c, fee(c))));
            }
        }
        Ok(Response::new(ListDepositChannelsResponse {
            channels,
            next_page_token: String::new(),
        }))
    }

    async fn preview_deposit(
        &self,
        request: Request<PreviewDepositRequest>,
    ) -> Result<Response<PreviewDepositResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let amount = request.into_inner().amount.unwrap_or_default();
        let amount = Rupiah::from_proto("amount", &amount)?;
        let connection = self.app.db.acquire().await;
        let mut connection = connection.map_err(|e| status::database(&e))?;
        let gifts = bonus::preview(&mut connection, account, amount, call.now).await;
        let gifts = gifts.map_err(|e| status::database(&e))?;
        Ok(Response::new(PreviewDepositResponse {
            amount: Some(amount.to_proto()),
            bonuses: gifts.iter().map(convert::expected_bonus).collect(),
        }))
    }

    async fn create_deposit(
        &self,
        request: Request<CreateDepositRequest>,
    ) -> Result<Response<CreateDepositResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let wish = wallet::DepositWish {
            amount: Rupiah::from_proto(
                "amount",
                request.amount.as_ref().unwrap_or(&Rupiah::ZERO.to_proto()),
            )?,
            method: request.method(),
            channel: request.channel.clone(),
            client_reference: Some(request.client_reference).filter(|r| !r.is_empty()),
            order: None,
        };
        // No gateway is asked while a transaction is open, so this one is given back before.
        if wish.method != Method::Sandbox
            && let Claim::Repeat(stored) = writes::begin(&self.app.db, &call).await?
        {
            return stored.reply(&call);
        }
        let chosen = gateway::choose(
            &self.app,
            &call.caller,
            wish.method,
            &wish.channel,
            wish.amount,
        )
        .await;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = match chosen {
            Ok(()) => wallet::open_deposit(&self.app, &call.caller, &mut write.tx, wish).await,
            Err(refused) => Err(refused),
        };
        let written = outcome.as_ref().ok().cloned();
        let reply = write
            .finish(
                outcome
                    .map(|d| CreateDepositResponse {
                        deposit: Some(convert::deposit(&d)),
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.tail.wake();
        let mut reply = reply?;
        let id = reply.get_ref().deposit.as_ref().map(|d| d.id.clone());
        // Another call with the same key may have been faster; then its deposit is the answer, and its own business.
        let written = written.filter(|d| Some(d.id.to_string()) == id && !d.channel.is_empty());
        if let Some(deposit) = written {
            let opened = gateway::open_now(&self.app, deposit).await;
            let opened = opened.map_err(|e| status::database(&e))?;
            reply.get_mut().deposit = Some(convert::deposit(&opened));
        }
        Ok(reply)
    }

    async fn list_deposits_to_confirm(
        &self,
        request: Request<ListDepositsToConfirmRequest>,
    ) -> Result<Response<ListDepositsToConfirmResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let second = request.second_person_only;
        let binding = ["to confirm", &second.to_string()];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let after = page.after_as::<Uuid>()?;
        let listed = queue::list(&self.app.db, after, second, page.limit()).await;
        let mut listed = listed.map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |l| l.deposit.id.to_string());
        let seen = queue::waiting(&self.app.db, &listed).await;
        let seen = seen.map_err(|e| status::database(&e))?;
        let settings = self.app.config.payments.bank_transfer.as_ref();
        let shown = listed.iter().map(|l| {
            let two = bank::needs_two(settings, l.deposit.amount);
            convert::deposit_to_confirm(l, &seen, two)
        });
        Ok(Response::new(ListDepositsToConfirmResponse {
            deposits: shown.collect(),
            next_page_token,
        }))
    }

    async fn confirm_deposit(
        &self,
        request: Request<ConfirmDepositRequest>,
    ) -> Result<Response<ConfirmDepositResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = DepositId::parse("deposit_id", &request.deposit_id)?;
        let received = request.received.unwrap_or(Rupiah::ZERO.to_proto());
        let received = Rupiah::from_proto("received", &received)?;
        let account = call
            .caller
            .account_holding(deposits::account_of_deposit(&self.app.db, id))
            .await?;
        let account = account.ok_or(Error::DepositNotFound)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let reference = request.bank_reference.trim();
        let outcome = match bank::confirm(
            &self.app,
            &call.caller,
            &mut write.tx,
            (account, id),
            received,
            reference,
        )
        .await
        {
            Ok(deposit) => whole(&mut write.tx, &deposit).await,
            Err(refused) => Err(refused),
        };
        let reply = outcome
            .map(|deposit| ConfirmDepositResponse {
                deposit: Some(deposit),
            })
            .map_err(Status::from);
        let reply = write.finish(reply).await;
        self.app.tail.wake();
        reply
    }

    async fn get_deposit(
        &self,
        request: Request<GetDepositRequest>,
    ) -> Result<Response<GetDepositResponse>, Status> {
        let call = Call::of(&request)?;
        let id = DepositId::parse("deposit_id", &request.get_ref().deposit_id)?;
        let holding = deposits::account_of_deposit(&self.app.db, id);
        let account = call.caller.account_holding(holding).await?;
        let account = account.ok_or(Error::DepositNotFound)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let found = deposits::get_deposit(&mut connection, account, id)
            .await
            .map_err(|e| status::database(&e))?;
        let deposit = found.ok_or(Error::DepositNotFound)?;
        Ok(Response::new(GetDepositResponse {
            deposit: Some(whole(&mut connection, &deposit).await?),
        }))
    }

    async fn list_deposits(
        &self,
        request: Request<ListDepositsRequest>,
    ) -> Result<Response<ListDepositsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["deposits", &account.to_string(), &request.state.to_string()],
        )?;
        let state = convert::state_filter(request.state).map_or("", |s| s.as_str());
        let mut listed = deposits::list_deposits(
            &self.app.db,
            account,
            page.after_as::<Uuid>()?,
            state,
            page.limit(),
        )
        .await
        .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |d| d.id.to_string());
        Ok(Response::new(ListDepositsResponse {
            deposits: listed.iter().map(convert::deposit).collect(),
            next_page_token,
        }))
    }

    async fn adjust_wallet(
        &self,
        request: Request<AdjustWalletRequest>,
    ) -> Result<Response<AdjustWalletResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = AccountId::parse("account_id", &request.account_id)?;
        let amount = Rupiah::from_proto(
            "amount",
            request.amount.as_ref().unwrap_or(&Rupiah::ZERO.to_proto()),
        )?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome =
            wallet::adjust(&self.app, &mut write.tx, account, amount, &request.reason).await;
        write.about(account);
        if let Ok(journal) = &outcome {
            write.keep_before(&convert::before(journal));
        }
        let reply = outcome
            .map(|j| AdjustWalletResponse {
                transaction: Some(convert::written(j, call.now)),
            })
            .map_err(Status::from);
        let reply = write.finish(reply).await;
        self.app.tail.wake();
        reply
    }

    async fn prove_ledger(
        &self,
        request: Request<ProveLedgerRequest>,
    ) -> Result<Response<ProveLedgerResponse>, Status> {
        let call = Call::of(&request)?;
        let named = &request.get_ref().account_id;
        let account = match call.caller.account {
            Some(own) => Some(own),
            None if named.is_empty() => None,
            None => Some(AccountId::parse("account_id", named)?),
        };
        let proof = prove::prove(&self.app.db, account.map_or(Scope::ALL, Scope::of))
            .await
            .map_err(|e| status::database(&e))?;
        Ok(Response::new(ProveLedgerResponse {
            proof: Some(proof.to_proto()),
        }))
    }

    async fn unfreeze_wallet(
        &self,
        request: Request<UnfreezeWalletRequest>,
    ) -> Result<Response<UnfreezeWalletResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = AccountId::parse("account_id", &request.account_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = wallet::unfreeze(&self.app, &mut write.tx, account, &request.reason).await;
        write.about(account);
        let reply = match outcome {
            Ok((balance, at)) => Ok(UnfreezeWalletResponse {
                wallet: Some(convert::wallet(account, &balance, at)),
            }),
            Err(error) => Err(error.into()),
        };
        let reply = write.finish(reply).await;
        self.app.tail.wake();
        reply
    }
}
