//! Wallet: the wire.

use sewa_sdk::sewa::wallet::v1::wallet_service_server::WalletService;
use sewa_sdk::sewa::wallet::v1::{
    AdjustWalletRequest, AdjustWalletResponse, CreateDepositRequest, CreateDepositResponse,
    GetDepositRequest, GetDepositResponse, GetWalletRequest, GetWalletResponse,
    ListDepositsRequest, ListDepositsResponse, ListTransactionsRequest, ListTransactionsResponse,
    ProveLedgerRequest, ProveLedgerResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::service::wallet::error::Error;
use crate::service::wallet::model::Balance;
use crate::service::wallet::store::prove;
use crate::service::wallet::{self, convert, store};

/// Serves `WalletService`.
pub struct Wallet {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl WalletService for Wallet {
    async fn get_wallet(
        &self,
        request: Request<GetWalletRequest>,
    ) -> Result<Response<GetWalletResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account_or(&request.get_ref().account_id)?;
        let found = store::get_balance(&self.app.db, account)
            .await
            .map_err(|e| status::database(&e))?;
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
            method: i16::try_from(request.method).unwrap_or_default(),
            client_reference: Some(request.client_reference).filter(|r| !r.is_empty()),
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = wallet::open_deposit(&self.app, &call.caller, &mut write.tx, wish).await;
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
        reply
    }

    async fn get_deposit(
        &self,
        request: Request<GetDepositRequest>,
    ) -> Result<Response<GetDepositResponse>, Status> {
        let call = Call::of(&request)?;
        let id = DepositId::parse("deposit_id", &request.get_ref().deposit_id)?;
        let holding = store::account_of_deposit(&self.app.db, id);
        let account = call.caller.account_holding(holding).await?;
        let account = account.ok_or(Error::DepositNotFound)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let found = store::get_deposit(&mut connection, account, id)
            .await
            .map_err(|e| status::database(&e))?;
        let deposit = found.ok_or(Error::DepositNotFound)?;
        Ok(Response::new(GetDepositResponse {
            deposit: Some(convert::deposit(&deposit)),
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
        let mut listed = store::list_deposits(
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
        let proof = prove::prove(&self.app.db, account)
            .await
            .map_err(|e| status::database(&e))?;
        Ok(Response::new(ProveLedgerResponse { proof: Some(proof) }))
    }
}
