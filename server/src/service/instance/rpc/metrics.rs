//! Metrics and traffic: the wire.

use chrono::{DateTime, NaiveDate, Utc};
use prost_types::Timestamp;
use sewa_sdk::sewa::instance::v1::metrics_service_server::MetricsService;
use sewa_sdk::sewa::instance::v1::{
    GetMetricsRequest, GetMetricsResponse, GetTrafficRequest, GetTrafficResponse,
    ListTrafficRequest, ListTrafficResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::page::Page;
use crate::base::status::{self, Invalid};
use crate::base::time;
use crate::provider::compute::metrics::month_of;
use crate::service::catalog;
use crate::service::instance::convert;
use crate::service::instance::error::Error;
use crate::service::instance::model::meter::{Traffic, included};
use crate::service::instance::model::span::{BadWindow, Window};
use crate::service::instance::store;

/// Serves `MetricsService`.
pub struct MetricsCalls {
    /// The parts.
    pub app: App,
}

impl MetricsCalls {
    /// Whether what the provider tells is summed up from speeds.
    fn is_estimated(&self, provider: &str) -> bool {
        let gives = self.app.providers.metrics_of(provider);
        gives.is_some_and(|gives| gives.estimated)
    }

    fn month(&self, text: &str) -> Result<NaiveDate, Status> {
        if text.is_empty() {
            return Ok(month_of(self.app.clock.now()));
        }
        // The contract has seen to its form.
        let month = time::parse_month(text);
        month.ok_or_else(|| status::invalid(Invalid::new("month", "STRING_PATTERN", "is no month")))
    }
}

fn moment(field: &str, at: Option<&Timestamp>) -> Result<Option<DateTime<Utc>>, Status> {
    at.map(|at| {
        time::from_proto(at)
            .ok_or_else(|| status::invalid(Invalid::new(field, "TIMESTAMP", "is no time")))
    })
    .transpose()
}

fn refused(bad: BadWindow) -> Status {
    status::invalid(match bad {
        BadWindow::Empty => Invalid::new("end_time", "AFTER_START", "must be after the start"),
        BadWindow::TooLong => Invalid::new(
            "start_time",
            "SPAN_TOO_LONG",
            "the span is longer than points of this resolution are kept",
        ),
    })
}

#[tonic::async_trait]
impl MetricsService for MetricsCalls {
    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let instance = super::visible(&self.app, &call, &request.instance_id).await?;
        let gives = self.app.providers.metrics_of(&instance.provider);
        let gives = gives
            .filter(|gives| !gives.kinds.is_empty())
            .ok_or(Error::NotSupported("metrics"))?;
        let window = Window::new(
            moment("start_time", request.start_time.as_ref())?,
            moment("end_time", request.end_time.as_ref())?,
            convert::resolution(request.resolution()),
            self.app.clock.now(),
        )
        .map_err(refused)?;
        let machine = (instance.account, instance.id);
        let (samples, as_of) = tokio::try_join!(
            store::metrics::list(&self.app.db, machine, &window),
            store::meters::asked_at(&self.app.db, instance.account, instance.id),
        )
        .map_err(|e| status::database(&e))?;
        let wanted: Vec<_> = request.kinds().collect();
        let series = gives
            .kinds
            .iter()
            .map(|kind| (*kind, convert::metric_kind(*kind)))
            .filter(|(_, named)| wanted.is_empty() || wanted.contains(named))
            .map(|(kind, _)| convert::series(kind, &samples))
            .collect();
        Ok(Response::new(GetMetricsResponse {
            series,
            resolution: convert::resolution_to_proto(window.resolution) as i32,
            start_time: Some(time::to_proto(window.start)),
            end_time: Some(time::to_proto(window.end)),
            as_of_time: as_of.map(time::to_proto),
        }))
    }

    async fn get_traffic(
        &self,
        request: Request<GetTrafficRequest>,
    ) -> Result<Response<GetTrafficResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let month = self.month(&request.month)?;
        let instance = super::visible(&self.app, &call, &request.instance_id).await?;
        let gives = self.app.providers.metrics_of(&instance.provider);
        let gives = gives
            .filter(|gives| gives.traffic)
            .ok_or(Error::NotSupported("traffic"))?;
        let found = store::traffic::get(&self.app.db, instance.account, instance.id, month)
            .await
            .map_err(|e| status::database(&e))?;
        let traffic = match found {
            Some(traffic) => traffic,
            None => {
                let catalogue = catalog::snapshot(&self.app).await?;
                let plan = catalogue.plan(instance.plan);
                Traffic {
                    instance: instance.id,
                    provider: instance.provider.clone(),
                    month,
                    received: 0,
                    sent: 0,
                    included: plan.and_then(|plan| included(plan.transfer_gib)),
                    read_at: None,
                }
            }
        };
        Ok(Response::new(GetTrafficResponse {
            traffic: Some(convert::traffic(&traffic, gives.estimated)),
        }))
    }

    async fn list_traffic(
        &self,
        request: Request<ListTrafficRequest>,
    ) -> Result<Response<ListTrafficResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let month = self.month(&request.month)?;
        let only = request.overage_only;
        let bound = [
            "traffic",
            &account.to_string(),
            &month.to_string(),
            &only.to_string(),
        ];
        let page = Page::read(request.page_size, &request.page_token, &bound)?;
        let (before, limit) = (page.after_as()?, page.limit());
        let mut listed = store::traffic::list(&self.app.db, account, month, only, before, limit)
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |traffic| traffic.instance.to_string());
        let show =
            |traffic: &Traffic| convert::traffic(traffic, self.is_estimated(&traffic.provider));
        Ok(Response::new(ListTrafficResponse {
            traffic: listed.iter().map(show).collect(),
            next_page_token,
        }))
    }
}
