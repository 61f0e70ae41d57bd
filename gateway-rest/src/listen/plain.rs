//! Requests of HTTP/1.1 that a proxy in front may have read as other ones, which is how requests are smuggled past it.
//!
//! The HTTP library refuses most of what is unclear, and takes chunks where a request names both chunks and a length, without a word of the length. So a connection
//! that has carried a request in chunks is closed after its answer: whatever a proxy took for the rest of the body, or for the next request of somebody else, is
//! never read. (RFC 9112, 6.1 and 3.2.)

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use tonic::body::Body;

/// How a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a length, or by a protocol that leaves no doubt.
    Plain,
    /// In chunks.
    Chunked,
    /// Nobody should guess; this is the answer.
    Unclear(StatusCode),
}

pub(super) fn framing<B>(request: &Request<B>) -> Framing {
    if request.version() > Version::HTTP_11 {
        return Framing::Plain;
    }
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let modern = request.version() == Version::HTTP_11;
    if another.is_some() || (modern && host.is_none()) {
        return Framing::Unclear(StatusCode::BAD_REQUEST);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Framing::Plain,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Framing::Chunked
        }
        _ => Framing::Unclear(StatusCode::NOT_IMPLEMENTED),
    }
}

/// An answer after which nothing is read from the connection any more.
pub(super) fn closing(mut response: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// A refusal without a body, after which nothing is read any more.
pub(super) fn last(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    closing(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing_of(version: Version, headers: &[(&str, &str)]) -> Framing {
        let mut request = Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        framing(&request.body(()).unwrap())
    }

    #[test]
    fn only_what_is_read_in_one_way_is_read() {
        let host = ("host", "a");
        let te = |value| ("transfer-encoding", value);
        let (refused, unknown) = (
            Framing::Unclear(StatusCode::BAD_REQUEST),
            Framing::Unclear(StatusCode::NOT_IMPLEMENTED),
        );
        for (headers, expected) in [
            (vec![host], Framing::Plain),
            (vec![], refused),
            (vec![host, host], refused),
            (vec![host, ("host", "b")], refused),
            (vec![host, te("chunked")], Framing::Chunked),
            (vec![host, te("Chunked")], Framing::Chunked),
            (vec![host, te("gzip, chunked")], unknown),
            (vec![host, te("chunked, chunked")], unknown),
            (vec![host, te("identity"), te("chunked")], unknown),
            (vec![host, te("xchunked")], unknown),
        ] {
            let found = framing_of(Version::HTTP_11, &headers);
            assert_eq!(found, expected, "{headers:?}");
        }
        assert_eq!(framing_of(Version::HTTP_10, &[]), Framing::Plain);
        assert_eq!(framing_of(Version::HTTP_10, &[host, host]), refused);
        assert_eq!(framing_of(Version::HTTP_2, &[]), Framing::Plain);
    }
}
