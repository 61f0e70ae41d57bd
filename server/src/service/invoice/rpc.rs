//! Invoices: the wire.

use chrono::NaiveDate;
use sewa_sdk::sewa::invoice::v1::invoice_service_server::InvoiceService;
use sewa_sdk::sewa::invoice::v1::{
    DownloadInvoiceRequest, DownloadInvoiceResponse, ExportTaxInvoicesRequest,
    ExportTaxInvoicesResponse, GetInvoiceRequest, GetInvoiceResponse, GetTaxPeriodRequest,
    GetTaxPeriodResponse, ListInvoicesRequest, ListInvoicesResponse, SearchInvoicesRequest,
    SearchInvoicesResponse, TaxPeriod,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::{Call, Caller};
use crate::base::id::InvoiceId;
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::status::{self, Invalid};
use crate::base::time;
use crate::service::invoice::document::Language;
use crate::service::invoice::error::Error;
use crate::service::invoice::model::{Invoice, Kind};
use crate::service::invoice::{convert, coretax, document, store};

/// Invoices in one part of the tax export: what Coretax takes in one file.
const PART: i64 = 1000;

/// Serves `InvoiceService`.
pub struct Invoices {
    /// The parts.
    pub app: App,
}

impl Invoices {
    async fn find(&self, caller: &Caller, invoice_id: &str) -> Result<Invoice, Status> {
        let id = InvoiceId::parse("invoice_id", invoice_id)?;
        let holding = store::account_of(&self.app.db, id);
        let account = caller.account_holding(holding).await?;
        let account = account.ok_or(Error::NotFound)?;
        let found = store::get(&self.app.db, account, id).await;
        let found = found.map_err(Error::from)?;
        Ok(found.ok_or(Error::NotFound)?)
    }
}

fn month(text: &str) -> Result<NaiveDate, Status> {
    time::parse_month(text).ok_or_else(|| {
        let rule = Invalid::new("month", "STRING_PATTERN", "must be a month such as 2026-11");
        status::invalid(rule)
    })
}

#[tonic::async_trait]
impl InvoiceService for Invoices {
    async fn list_invoices(
        &self,
        request: Request<ListInvoicesRequest>,
    ) -> Result<Response<ListInvoicesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["invoices", &account.to_string(), &request.kind.to_string()],
        )?;
        let kind = i16::try_from(request.kind).unwrap_or(0);
        let before = page.after_as::<Uuid>()?;
        let listed = store::list(&self.app.db, account, before, kind, page.limit()).await;
        let mut listed = listed.map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |i| i.id.to_string());
        Ok(Response::new(ListInvoicesResponse {
            invoices: listed.iter().map(convert::invoice).collect(),
            next_page_token,
        }))
    }

    async fn get_invoice(
        &self,
        request: Request<GetInvoiceRequest>,
    ) -> Result<Response<GetInvoiceResponse>, Status> {
        let call = Call::of(&request)?;
        let found = self
            .find(&call.caller, &request.get_ref().invoice_id)
            .await?;
        Ok(Response::new(GetInvoiceResponse {
            invoice: Some(convert::invoice(&found)),
        }))
    }

    async fn download_invoice(
        &self,
        request: Request<DownloadInvoiceRequest>,
    ) -> Result<Response<DownloadInvoiceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let found = self.find(&call.caller, &request.invoice_id).await?;
        let language = match request.language.as_str() {
            "" => Language::of(&found.language),
            chosen => Language::of(chosen),
        };
        // Drawing takes milliseconds of a core, which other calls of this thread should not wait for.
        let drawn = tokio::task::spawn_blocking(move || document::draw(&found, language)).await;
        let pdf = drawn.map_err(|e| Error::Document(e.into()))?;
        let pdf = pdf.map_err(Error::Document)?;
        Ok(Response::new(DownloadInvoiceResponse {
            document: Some(convert::http_body("application/pdf", pdf)),
        }))
    }

    async fn search_invoices(
        &self,
        request: Request<SearchInvoicesRequest>,
    ) -> Result<Response<SearchInvoicesResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let kind = Kind::from_number(i16::try_from(request.kind).unwrap_or(0));
        let series = kind.series(request.sandbox);
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["invoices of a month", series, &request.month],
        )?;
        let after = page.after_as::<i32>()?.unwrap_or(0);
        let month = month(&request.month)?;
        let listed = store::of_month(&self.app.db, series, month, after, page.limit()).await;
        let mut listed = listed.map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |i| i.sequence.to_string());
        Ok(Response::new(SearchInvoicesResponse {
            invoices: listed.iter().map(convert::invoice).collect(),
            next_page_token,
        }))
    }

    async fn get_tax_period(
        &self,
        request: Request<GetTaxPeriodRequest>,
    ) -> Result<Response<GetTaxPeriodResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let month = month(&request.month)?;
        let sums = async |kind: Kind| {
            let series = kind.series(false);
            store::sums(&self.app.db, series, month).await
        };
        let invoices = sums(Kind::Invoice).await;
        let invoices = invoices.map_err(|e| status::database(&e))?;
        let credits = sums(Kind::CreditNote).await;
        let credits = credits.map_err(|e| status::database(&e))?;
        Ok(Response::new(GetTaxPeriodResponse {
            tax_period: Some(TaxPeriod {
                month: request.month,
                invoices: invoices.count,
                net: Some(Rupiah(invoices.net).to_proto()),
                tax: Some(Rupiah(invoices.tax).to_proto()),
                credit_notes: credits.count,
                credited_net: Some(Rupiah(credits.net).to_proto()),
                credited_tax: Some(Rupiah(credits.tax).to_proto()),
                without_tax_number: invoices.without_tax_number,
                parts: i32::try_from(parts(invoices.count)).unwrap_or(i32::MAX),
            }),
        }))
    }

    async fn export_tax_invoices(
        &self,
        request: Request<ExportTaxInvoicesRequest>,
    ) -> Result<Response<ExportTaxInvoicesResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let seller = self.app.config.seller.party();
        let seller = seller.ok_or(Error::SellerNotSet)?;
        let month = month(&request.month)?;
        let part = i64::from(request.part.max(1));
        // Sequences have no gaps, so a part is a range of them.
        let after = i32::try_from((part - 1) * PART).unwrap_or(i32::MAX);
        let series = Kind::Invoice.series(false);
        let invoices = store::of_month(&self.app.db, series, month, after, PART).await;
        let invoices = invoices.map_err(|e| status::database(&e))?;
        if invoices.is_empty() {
            let sums = store::sums(&self.app.db, series, month).await;
            let sums = sums.map_err(|e| status::database(&e))?;
            let parts = parts(sums.count);
            return Err(Error::PartNotFound { parts }.into());
        }
        let xml = coretax::export(&seller, &invoices).map_err(Error::Document)?;
        Ok(Response::new(ExportTaxInvoicesResponse {
            document: Some(convert::http_body("application/xml", xml)),
        }))
    }
}

fn parts(invoices: i64) -> i64 {
    (invoices + PART - 1) / PART
}
