//! The contract about itself, on the wire.

use sewa_sdk::sewa::meta::v1 as proto;
use sewa_sdk::sewa::meta::v1::meta_service_server::MetaService;
use tonic::{Request, Response, Status, async_trait};

use crate::app::App;
use crate::base::page::Page;
use crate::service::meta as slice;

/// The service.
pub struct Meta {
    /// What the server holds.
    pub app: App,
}

#[async_trait]
impl MetaService for Meta {
    async fn get_server_info(
        &self,
        _: Request<proto::GetServerInfoRequest>,
    ) -> Result<Response<proto::GetServerInfoResponse>, Status> {
        Ok(Response::new(proto::GetServerInfoResponse {
            info: Some(slice::server_info()),
        }))
    }

    async fn list_permissions(
        &self,
        request: Request<proto::ListPermissionsRequest>,
    ) -> Result<Response<proto::ListPermissionsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &["permissions"])?;
        let mut methods = slice::permissions();
        methods.retain(|method| {
            page.after
                .as_ref()
                .is_none_or(|after| method.method > *after)
        });
        let next_page_token = page.finish(&mut methods, |method| method.method.clone());
        Ok(Response::new(proto::ListPermissionsResponse {
            methods,
            next_page_token,
        }))
    }

    async fn list_error_reasons(
        &self,
        request: Request<proto::ListErrorReasonsRequest>,
    ) -> Result<Response<proto::ListErrorReasonsResponse>, Status> {
        let request = request.into_inner();
        // A position in the list is a key as long as the contract is the same, so the token is bound to it.
        let contract = slice::server_info().contract_digest;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["reasons", &contract],
        )?;
        let mut reasons = slice::error_reasons();
        let skip: usize = page.after_as()?.unwrap_or(0);
        let mut numbered: Vec<_> = reasons.drain(..).enumerate().skip(skip).collect();
        let next_page_token =
            page.finish(&mut numbered, |(position, _)| (position + 1).to_string());
        Ok(Response::new(proto::ListErrorReasonsResponse {
            reasons: numbered.into_iter().map(|(_, reason)| reason).collect(),
            next_page_token,
        }))
    }
}
