//! Events: the wire.

use std::pin::Pin;

use futures_util::Stream;
use sewa_sdk::sewa::event::v1::event_service_server::EventService;
use sewa_sdk::sewa::event::v1::{
    ListEventsRequest, ListEventsResponse, WatchEventsRequest, WatchEventsResponse,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::outbox::reader::{self, Stored};
use crate::base::page::Page;
use crate::base::status::{self, Invalid};
use crate::edge::Deadline;
use crate::service::event::stream::{self, Wanted};

/// Serves `EventService`.
pub struct Events {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl EventService for Events {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let call = Call::of(&request)?;
        let deadline = deadline(&request)?;
        let request = request.into_inner();
        let account = call.caller.account()?;
        let binding = [
            "events",
            &account.to_string(),
            &request.resume_cursor,
            &format!("{:?}", request.types),
            &request.subject_id,
        ];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let oldest = stream::oldest(&self.app.db).await?;
        let from = match page.after_as::<i64>()? {
            Some(after) => after,
            None if request.resume_cursor.is_empty() => oldest,
            None => stream::begin(&self.app.tail, &request.resume_cursor, oldest, deadline).await?,
        };
        let types = types(&request.types);
        let subject = subject(&request.subject_id)?;
        let mut listed = reader::list(
            &self.app.db,
            account,
            from,
            self.app.tail.safe(),
            &types,
            subject,
            page.limit(),
        )
        .await
        .map_err(|e| status::database(&e))?;
        // Whoever began at the oldest event wants no particular one; all others must not miss any.
        if from != oldest {
            stream::kept(&self.app.db, from).await?;
        }
        let next_page_token = page.finish(&mut listed, |e| e.seq.to_string());
        Ok(Response::new(ListEventsResponse {
            events: listed.iter().map(Stored::to_proto).collect(),
            next_page_token,
        }))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let call = Call::of(&request)?;
        let deadline = deadline(&request)?;
        let request = request.into_inner();
        let oldest = stream::oldest(&self.app.db).await?;
        let position =
            stream::begin(&self.app.tail, &request.resume_cursor, oldest, deadline).await?;
        if !request.resume_cursor.is_empty() {
            stream::kept(&self.app.db, position).await?;
        }
        let wanted = Wanted {
            account: call.caller.account()?,
            types: types(&request.types),
            subject: subject(&request.subject_id)?,
            checkpoints: request.checkpoints,
        };
        Ok(Response::new(Box::pin(stream::follow(
            self.app.clone(),
            call.caller.clone(),
            wanted,
            position,
            deadline,
        ))))
    }
}

/// When the edge ends the call.
fn deadline<T>(request: &Request<T>) -> Result<Instant, Status> {
    let deadline = request.extensions().get::<Deadline>();
    deadline
        .map(|deadline| deadline.0.into())
        .ok_or_else(|| status::internal("a call without a deadline"))
}

fn types(numbers: &[i32]) -> Vec<i16> {
    numbers
        .iter()
        .filter_map(|n| i16::try_from(*n).ok())
        .collect()
}

fn subject(text: &str) -> Result<Option<Uuid>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::try_parse(text)
        .map(Some)
        .map_err(|_| status::invalid(Invalid::new("subject_id", "STRING_UUID", "must be a UUID")))
}
