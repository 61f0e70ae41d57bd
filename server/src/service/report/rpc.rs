//! Reports: the wire.

use std::pin::Pin;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{Stream, StreamExt};
use sewa_sdk::sewa::report::v1::export_report_request::Report;
use sewa_sdk::sewa::report::v1::report_service_server::ReportService;
use sewa_sdk::sewa::report::v1::{
    AgeBucket, ExportReportRequest, ExportReportResponse, ExportStatementRequest,
    ExportStatementResponse, GetOrderCountsRequest, GetOrderCountsResponse, GetPlanSalesRequest,
    GetPlanSalesResponse, GetReceivablesAgingRequest, GetReceivablesAgingResponse,
    GetReconciliationRequest, GetReconciliationResponse, GetRevenueRequest, GetRevenueResponse,
    GetStatementRequest, GetStatementResponse, GetSubscriptionMetricsRequest,
    GetSubscriptionMetricsResponse, ListReceivablesRequest, ListReceivablesResponse,
    ListReconciliationDifferencesRequest, ListReconciliationDifferencesResponse,
    ListReconciliationsRequest, ListReconciliationsResponse, OrderCountsReport, PlanSalesReport,
    ReceivablesAging, RequestReconciliationRequest, RequestReconciliationResponse, RevenueReport,
    SearchTransactionsRequest, SearchTransactionsResponse, Statement,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::{Call, Caller};
use crate::base::id::{AccountId, ReconciliationId};
use crate::base::page::Page;
use crate::base::status::{self, Invalid};
use crate::base::time;
use crate::base::writes::{self, Claim};
use crate::service::invoice::convert::http_body;
use crate::service::report::error::Error;
use crate::service::report::export::{self, Pieces};
use crate::service::report::model::{self, Age, Figures, Interval, Range};
use crate::service::report::store::runs::{self, Run};
use crate::service::report::store::transactions::{self, Filter, Moved, Place};
use crate::service::report::store::{self, owed};
use crate::service::report::{self, convert, csv};
use crate::service::wallet;

/// Days of movements in one question.
const MOVEMENTS: i64 = 31;
/// Days of a report.
const DAYS: i64 = 3660;
/// Rows of a report.
const ROWS: usize = 366;
/// Plans shown when none are asked for.
const PLANS: i32 = 50;

/// Serves `ReportService`.
pub struct Reports {
    /// The parts.
    pub app: App,
}

fn violation(field: &'static str, rule: &'static str, text: impl Into<String>) -> Status {
    status::invalid(Invalid::new(field, rule, text))
}

fn date(field: &'static str, text: &str) -> Result<NaiveDate, Status> {
    let date = text.parse();
    date.map_err(|_| {
        violation(
            field,
            "DATE",
            "must be a day of the calendar such as 2026-11-21",
        )
    })
}

fn month(text: &str) -> Result<Range, Status> {
    let first = date("month", &format!("{text}-01"))?;
    Ok(Range::month(first))
}

/// The days of a report, at most `most` of them.
fn range(start: &str, end: &str, most: i64) -> Result<Range, Status> {
    let range = Range {
        start: date("start_date", start)?,
        end: date("end_date", end)?,
    };
    if range.start >= range.end {
        return Err(violation(
            "end_date",
            "RANGE_EMPTY",
            "must be after start_date",
        ));
    }
    if range.days() > most {
        let text = format!("must be at most {most} days after start_date");
        return Err(violation("end_date", "RANGE_TOO_LONG", text));
    }
    Ok(range)
}

fn cut(range: Range, interval: Interval) -> Result<Vec<Range>, Status> {
    let rows = interval.cut(range);
    if rows.len() > ROWS {
        let text = format!("must leave at most {ROWS} rows; choose a longer interval");
        return Err(violation("end_date", "RANGE_TOO_LONG", text));
    }
    Ok(rows)
}

fn moment(
    field: &'static str,
    time: Option<&prost_types::Timestamp>,
) -> Result<DateTime<Utc>, Status> {
    let read = time.and_then(time::from_proto);
    read.ok_or_else(|| violation(field, "TIMESTAMP", "must be a time after 1970"))
}

fn account(text: &str) -> Result<Option<Uuid>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    AccountId::parse("account_id", text).map(|id| Some(id.0))
}

fn database(error: sqlx::Error) -> Status {
    status::database(&error)
}

impl Reports {
    async fn figures(&self, days: Range) -> Result<Vec<Figures>, Status> {
        let today = time::day_of(self.app.clock.now());
        let figures = report::figures(&self.app.db, days, today).await;
        figures.map_err(database)
    }

    async fn run(&self, id: &str) -> Result<Run, Status> {
        let id = ReconciliationId::parse("reconciliation_id", id)?;
        let run = runs::get(&self.app.db, id).await.map_err(Error::from)?;
        Ok(run.ok_or(Error::ReconciliationNotFound)?)
    }

    /// The account whose statement is read.
    async fn owner(&self, caller: &Caller, named: &str) -> Result<AccountId, Status> {
        let account = caller.account_or(named)?;
        let exists = caller.account.is_some()
            || wallet::store::account_exists(&self.app.db, account)
                .await
                .map_err(database)?;
        if exists {
            Ok(account)
        } else {
            Err(Error::AccountNotFound.into())
        }
    }

    /// What a report is downloaded from.
    async fn pieces(&self, request: &ExportReportRequest) -> Result<Pieces, Status> {
        let app = self.app.clone();
        let days = |most| range(&request.start_date, &request.end_date, most);
        Ok(match request.report() {
            Report::Unspecified | Report::Transactions => {
                let (from, until) = days(MOVEMENTS)?.moments();
                let filter = Filter {
                    from,
                    until,
                    kind: i16::try_from(request.kind).unwrap_or(0),
                    account: account(&request.account_id)?,
                };
                export::movements(app, filter)
            }
            Report::Receivables => export::receivables(app),
            Report::Revenue => {
                let (days, interval) = (days(DAYS)?, Interval::from_number(request.interval));
                cut(days, interval)?;
                export::revenue(app, days, interval)
            }
            Report::PlanSales => export::plan_sales(app, days(DAYS)?),
            Report::OrderCounts => {
                let most = i64::try_from(ROWS).unwrap_or(i64::MAX);
                export::order_counts(app, days(most)?)
            }
            Report::Reconciliation => {
                let run = self.run(&request.reconciliation_id).await?;
                export::differences(app, run.id)
            }
        })
    }
}

#[tonic::async_trait]
impl ReportService for Reports {
    async fn search_transactions(
        &self,
        request: Request<SearchTransactionsRequest>,
    ) -> Result<Response<SearchTransactionsResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let from = moment("start_time", request.start_time.as_ref())?;
        let until = moment("end_time", request.end_time.as_ref())?;
        if until - from > TimeDelta::days(MOVEMENTS) {
            let text = format!("must be at most {MOVEMENTS} days after start_time");
            return Err(violation("end_time", "RANGE_TOO_LONG", text));
        }
        let filter = Filter {
            from,
            until,
            kind: i16::try_from(request.kind).unwrap_or(0),
            account: account(&request.account_id)?,
        };
        let binding = ["movements", &format!("{filter:?}")];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let before = page.after_as::<Place>()?;
        let found = transactions::search(&self.app.db, &filter, before, page.limit()).await;
        let mut found = found.map_err(database)?;
        let next_page_token = page.finish(&mut found, |moved: &Moved| moved.place().to_string());
        Ok(Response::new(SearchTransactionsResponse {
            transactions: found.iter().map(convert::transaction).collect(),
            next_page_token,
        }))
    }

    async fn list_receivables(
        &self,
        request: Request<ListReceivablesRequest>,
    ) -> Result<Response<ListReceivablesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &["receivables"])?;
        let after = page.after_as::<Place>()?;
        let found = owed::list(&self.app.db, after, page.limit()).await;
        let mut found = found.map_err(database)?;
        let next_page_token = page.finish(&mut found, |owed| owed.place().to_string());
        let shown = found
            .iter()
            .map(|o| convert::receivable(o, Age::of(o.due, call.now)));
        Ok(Response::new(ListReceivablesResponse {
            receivables: shown.collect(),
            next_page_token,
        }))
    }

    async fn get_receivables_aging(
        &self,
        request: Request<GetReceivablesAgingRequest>,
    ) -> Result<Response<GetReceivablesAgingResponse>, Status> {
        let call = Call::of(&request)?;
        let all = owed::list(&self.app.db, None, i64::MAX).await;
        let all = all.map_err(database)?;
        let bucket = |age: Age| {
            let of_age = all.iter().filter(|o| Age::of(o.due, call.now) == age);
            let amounts: Vec<i64> = of_age.map(|o| o.amount().0).collect();
            AgeBucket {
                age: age as i32,
                count: i64::try_from(amounts.len()).unwrap_or(i64::MAX),
                amount: Some(sewa_sdk::money::Money::idr(amounts.iter().sum())),
            }
        };
        let total: i64 = all.iter().map(|o| o.amount().0).sum();
        Ok(Response::new(GetReceivablesAgingResponse {
            aging: Some(ReceivablesAging {
                buckets: Age::ALL.into_iter().map(bucket).collect(),
                total: Some(sewa_sdk::money::Money::idr(total)),
                as_of_time: Some(time::to_proto(call.now)),
            }),
        }))
    }

    async fn get_revenue(
        &self,
        request: Request<GetRevenueRequest>,
    ) -> Result<Response<GetRevenueResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let days = range(&request.start_date, &request.end_date, DAYS)?;
        let rows = cut(days, Interval::from_number(request.interval))?;
        let figures = self.figures(days).await?;
        let rows = model::rows(&figures, &rows);
        let total = convert::revenue(days, &model::total(figures.iter()));
        Ok(Response::new(GetRevenueResponse {
            report: Some(RevenueReport {
                rows: rows
                    .iter()
                    .map(|(row, f)| convert::revenue(*row, f))
                    .collect(),
                total: Some(total),
            }),
        }))
    }

    async fn get_plan_sales(
        &self,
        request: Request<GetPlanSalesRequest>,
    ) -> Result<Response<GetPlanSalesResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let days = range(&request.start_date, &request.end_date, DAYS)?;
        let limit = if request.limit == 0 {
            PLANS
        } else {
            request.limit
        };
        let mut plans = model::by_plan(&self.figures(days).await?);
        plans.truncate(usize::try_from(limit).unwrap_or(0));
        let ids: Vec<Uuid> = plans.iter().map(|f| f.plan).collect();
        let names = store::plan_names(&self.app.db, &ids).await;
        let names = names.map_err(database)?.into_iter().collect();
        let rows = plans.iter().map(|f| convert::plan_sales(f, &names));
        Ok(Response::new(GetPlanSalesResponse {
            report: Some(PlanSalesReport {
                rows: rows.collect(),
            }),
        }))
    }

    async fn get_order_counts(
        &self,
        request: Request<GetOrderCountsRequest>,
    ) -> Result<Response<GetOrderCountsResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let days = range(&request.start_date, &request.end_date, DAYS)?;
        let rows = cut(days, Interval::Day)?;
        let figures = self.figures(days).await?;
        let rows = model::rows(&figures, &rows).into_iter();
        let total = convert::order_counts(String::new(), &model::total(figures.iter()));
        Ok(Response::new(GetOrderCountsResponse {
            report: Some(OrderCountsReport {
                rows: rows
                    .map(|(row, f)| convert::order_counts(row.start.to_string(), &f))
                    .collect(),
                total: Some(total),
            }),
        }))
    }

    async fn get_subscription_metrics(
        &self,
        request: Request<GetSubscriptionMetricsRequest>,
    ) -> Result<Response<GetSubscriptionMetricsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (start, end) = month(&request.month)?.moments();
        if start > call.now {
            return Err(violation("month", "MONTH_NOT_BEGUN", "must have begun"));
        }
        let end = end.min(call.now);
        let recurring = owed::recurring(&self.app.db, start, end).await;
        let recurring = recurring.map_err(database)?;
        Ok(Response::new(GetSubscriptionMetricsResponse {
            metrics: Some(convert::metrics(request.month, end, &recurring)),
        }))
    }

    type ExportReportStream =
        Pin<Box<dyn Stream<Item = Result<ExportReportResponse, Status>> + Send>>;

    async fn export_report(
        &self,
        request: Request<ExportReportRequest>,
    ) -> Result<Response<Self::ExportReportStream>, Status> {
        Call::of(&request)?;
        let pieces = self.pieces(request.get_ref()).await?;
        let pieces = pieces.map(|piece| {
            let document = Some(http_body(
                csv::CONTENT_TYPE,
                piece.map_err(database)?.into(),
            ));
            Ok(ExportReportResponse { document })
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn request_reconciliation(
        &self,
        request: Request<RequestReconciliationRequest>,
    ) -> Result<Response<RequestReconciliationResponse>, Status> {
        let call = Call::of(&request)?;
        let day = date("day", &request.get_ref().day)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let today = time::day_of(call.now);
        let outcome = if day > today {
            Err(Error::DayNotBegun { today })
        } else {
            let asked_by = Some(call.caller.principal);
            let run = runs::request(&mut write.tx, day, asked_by, call.now).await;
            run.map_err(Error::from)
        };
        let outcome = outcome.map(|run| RequestReconciliationResponse {
            reconciliation: Some(convert::reconciliation(&run)),
        });
        write.finish(outcome.map_err(Status::from)).await
    }

    async fn get_reconciliation(
        &self,
        request: Request<GetReconciliationRequest>,
    ) -> Result<Response<GetReconciliationResponse>, Status> {
        Call::of(&request)?;
        let run = self.run(&request.get_ref().reconciliation_id).await?;
        Ok(Response::new(GetReconciliationResponse {
            reconciliation: Some(convert::reconciliation(&run)),
        }))
    }

    async fn list_reconciliations(
        &self,
        request: Request<ListReconciliationsRequest>,
    ) -> Result<Response<ListReconciliationsResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let day = match request.day.as_str() {
            "" => None,
            day => Some(date("day", day)?),
        };
        let binding = ["reconciliations", &request.day];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let before = page.after_as::<Uuid>()?;
        let found = runs::list(&self.app.db, day, before, page.limit()).await;
        let mut found = found.map_err(database)?;
        let next_page_token = page.finish(&mut found, |run| run.id.to_string());
        Ok(Response::new(ListReconciliationsResponse {
            reconciliations: found.iter().map(convert::reconciliation).collect(),
            next_page_token,
        }))
    }

    async fn list_reconciliation_differences(
        &self,
        request: Request<ListReconciliationDifferencesRequest>,
    ) -> Result<Response<ListReconciliationDifferencesResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let run = self.run(&request.reconciliation_id).await?;
        let binding = ["differences", &run.id.to_string()];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let after = page.after_as::<i32>()?.unwrap_or(0);
        let found = runs::differences(&self.app.db, run.id, after, page.limit()).await;
        let mut found = found.map_err(database)?;
        let next_page_token = page.finish(&mut found, |d| d.number.to_string());
        Ok(Response::new(ListReconciliationDifferencesResponse {
            differences: found.iter().map(convert::difference).collect(),
            next_page_token,
        }))
    }

    async fn get_statement(
        &self,
        request: Request<GetStatementRequest>,
    ) -> Result<Response<GetStatementResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = self.owner(&call.caller, &request.account_id).await?;
        let days = month(&request.month)?;
        let binding = ["statement", &account.to_string(), &request.month];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let after = page.after_as::<Uuid>()?;
        let whole = report::statement(&self.app.db, account, days).await;
        let whole = whole.map_err(database)?;
        let limit = page.limit();
        let lines = store::statement::lines(&self.app.db, account, days.moments(), after, limit);
        let mut lines = lines.await.map_err(database)?;
        let next_page_token = page.finish(&mut lines, |line| line.id.to_string());
        Ok(Response::new(GetStatementResponse {
            statement: Some(Statement {
                account_id: account.to_string(),
                month: request.month,
                opening: Some(convert::balances(&whole.opening)),
                closing: Some(convert::balances(&whole.closing)),
                movements: whole.totals.iter().map(|t| t.count).sum(),
                totals: whole.totals.iter().map(convert::statement_total).collect(),
            }),
            lines: lines.iter().map(wallet::convert::transaction).collect(),
            next_page_token,
        }))
    }

    type ExportStatementStream =
        Pin<Box<dyn Stream<Item = Result<ExportStatementResponse, Status>> + Send>>;

    async fn export_statement(
        &self,
        request: Request<ExportStatementRequest>,
    ) -> Result<Response<Self::ExportStatementStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = self.owner(&call.caller, &request.account_id).await?;
        let days = month(&request.month)?;
        let pieces = export::statement(self.app.clone(), account, days);
        let pieces = pieces.map(|piece| {
            let document = Some(http_body(
                csv::CONTENT_TYPE,
                piece.map_err(database)?.into(),
            ));
            Ok(ExportStatementResponse { document })
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}
