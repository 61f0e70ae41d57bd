//! `google.api.HttpBody`, by hand like `Money`: a document that REST clients get as it is, with its own content type.

/// A document.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpBody {
    /// For example `application/pdf`.
    #[prost(string, tag = "1")]
    pub content_type: String,
    /// The document itself.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: bytes::Bytes,
    /// Not used by this contract.
    #[prost(message, repeated, tag = "3")]
    pub extensions: Vec<prost_types::Any>,
}

impl prost::Name for HttpBody {
    const NAME: &'static str = "HttpBody";
    const PACKAGE: &'static str = "google.api";
}
