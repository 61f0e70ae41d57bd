//! Walks a list page by page, as one stream of items.

use futures_util::Stream;
use tonic::{Response, Status};

use crate::error::Error;

/// Yields the items of a list, asking for the next page when the last one is used up. A page is asked for only when an item of it is wanted, so dropping the
/// stream early costs nothing more.
///
/// A server that answers a page with the token of that same page would never come to an end; that is an error.
///
/// `set_token` puts the page token into the request, `call` makes the call, and `split` takes items and next token out of the reply.
///
/// ```no_run
/// # use futures_util::TryStreamExt;
/// use sewa_sdk::sewa::order::v1::{ListOrdersRequest, order_service_client::OrderServiceClient};
/// # async fn show(client: sewa_sdk::Client) -> Result<(), sewa_sdk::Error> {
/// let orders = client.service(OrderServiceClient::new);
/// let mut all = std::pin::pin!(sewa_sdk::pages(
///     ListOrdersRequest::default(),
///     |request, token| request.page_token = token,
///     |request| { let mut orders = orders.clone(); async move { orders.list_orders(request).await } },
///     |reply| (reply.orders, reply.next_page_token),
/// ));
/// while let Some(order) = all.try_next().await? {
///     println!("{}", order.id);
/// }
/// # Ok(())
/// # }
/// ```
pub fn pages<Req, Resp, Item, Pending>(
    mut request: Req,
    set_token: impl Fn(&mut Req, String),
    mut call: impl FnMut(Req) -> Pending,
    split: impl Fn(Resp) -> (Vec<Item>, String),
) -> impl Stream<Item = Result<Item, Error>>
where
    Req: Clone,
    Pending: Future<Output = Result<Response<Resp>, Status>>,
{
    async_stream::try_stream! {
        let mut asked = String::new();
        loop {
            let (items, token) = split(call(request.clone()).await?.into_inner());
            for item in items {
                yield item;
            }
            if token.is_empty() {
                break;
            }
            if token == asked {
                Err(Status::internal("the server answers with the page token it was asked with"))?;
                return;
            }
            asked.clone_from(&token);
            set_token(&mut request, token);
        }
    }
}
