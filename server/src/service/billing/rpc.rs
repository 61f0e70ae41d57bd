//! Billing: the wire.

use sewa_sdk::sewa::billing::v1::billing_service_server::BillingService;
use sewa_sdk::sewa::billing::v1::{
    GetBillingProfileRequest, GetBillingProfileResponse, UpdateBillingProfileRequest,
    UpdateBillingProfileResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::writes::{self, Claim};
use crate::base::{mask, status};
use crate::service::billing::error::Error;
use crate::service::billing::model::{Changes, FIELDS};
use crate::service::billing::{self, convert, store};

/// Serves `BillingService`.
pub struct Billing {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl BillingService for Billing {
    async fn get_billing_profile(
        &self,
        request: Request<GetBillingProfileRequest>,
    ) -> Result<Response<GetBillingProfileResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account_or(&request.get_ref().account_id)?;
        let profile = store::get(&self.app.db, account).await;
        let profile = profile.map_err(|e| status::database(&e))?;
        Ok(Response::new(GetBillingProfileResponse {
            billing_profile: Some(convert::profile(account, profile)),
        }))
    }

    async fn update_billing_profile(
        &self,
        request: Request<UpdateBillingProfileRequest>,
    ) -> Result<Response<UpdateBillingProfileResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account()?;
        let new = request.billing_profile.unwrap_or_default();
        let fields = mask::fields(request.update_mask.as_ref(), FIELDS, |field| {
            !match field {
                "name" => &new.name,
                "tax_number_kind" => return new.tax_number_kind != 0,
                "tax_number" => &new.tax_number,
                "branch" => &new.branch,
                "address" => &new.address,
                "city" => &new.city,
                "province" => &new.province,
                "postal_code" => &new.postal_code,
                "email" => &new.email,
                _ => &new.language,
            }
            .is_empty()
        })
        .map_err(Error::FieldNotWritable)?;
        let changes = Changes { fields, new };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = billing::update(&mut write.tx, account, changes, call.now).await;
        if let Ok((before, _)) = &outcome {
            write.keep_before(&convert::profile(account, before.clone()));
        }
        let reply = write
            .finish(
                outcome
                    .map(|(_, after)| UpdateBillingProfileResponse {
                        billing_profile: Some(convert::profile(account, after)),
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.billing.forget(account);
        reply
    }
}
