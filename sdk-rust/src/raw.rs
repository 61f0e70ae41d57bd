//! Calls a method by its name, without its stub: for command lines, for proxies, and for methods newer than this build.
//!
//! Such calls go the same way as all others, with credentials, deadlines, keys and repeats.

use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt};
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MethodDescriptor, SerializeOptions};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Response, Status};

use crate::client::Client;
use crate::error::Error;
use crate::transport::Transport;

/// A method of the contract, ready to be called.
#[derive(Debug, Clone)]
pub struct RawMethod {
    method: MethodDescriptor,
    path: PathAndQuery,
    transport: Transport,
}

impl Client {
    /// Finds a method by its name, `sewa.wallet.v1.WalletService/GetBalance`.
    ///
    /// ```no_run
    /// # async fn show(client: sewa_sdk::Client) -> Result<(), sewa_sdk::Error> {
    /// println!("{}", client.raw("sewa.identity.v1.IdentityService/GetCaller")?.json("{}").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn raw(&self, name: &str) -> Result<RawMethod, Error> {
        let unknown = || Status::unimplemented(format!("the contract has no method {name}"));
        let (service, method) = name
            .trim_start_matches('/')
            .rsplit_once(['/', '.'])
            .ok_or_else(unknown)?;
        let service = crate::pool()
            .get_service_by_name(service)
            .ok_or_else(unknown)?;
        let method = service
            .methods()
            .find(|found| found.name() == method)
            .ok_or_else(unknown)?;
        let path = PathAndQuery::try_from(format!("/{}/{}", service.full_name(), method.name()))
            .map_err(|_| unknown())?;
        Ok(RawMethod {
            method,
            path,
            transport: self.transport(),
        })
    }

    /// Sends an encoded message to any path and returns the encoded reply. A path the contract does not know is called once, and never repeated.
    pub async fn raw_bytes(
        &self,
        path: PathAndQuery,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Error> {
        Ok(Grpc::new(self.transport())
            .unary(request, path, Encoded)
            .await?)
    }
}

impl RawMethod {
    /// What the contract says about the method.
    pub fn descriptor(&self) -> &MethodDescriptor {
        &self.method
    }

    /// Reads a request from JSON. Unknown fields are refused.
    pub fn request(&self, json: &str) -> Result<DynamicMessage, Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message =
            DynamicMessage::deserialize_with_options(self.method.input(), &mut reader, &options);
        let invalid = |error: serde_json::Error| {
            Status::invalid_argument(format!(
                "the request is not a {}: {error}",
                self.method.input().name()
            ))
        };
        let message = message.map_err(invalid)?;
        reader.end().map_err(invalid)?;
        Ok(message)
    }

    /// Calls a unary method.
    pub async fn unary(
        &self,
        request: Request<DynamicMessage>,
    ) -> Result<Response<DynamicMessage>, Error> {
        let request = request.map(|message| Bytes::from(message.encode_to_vec()));
        let reply = Grpc::new(self.transport.clone())
            .unary(request, self.path.clone(), Encoded)
            .await?;
        let (metadata, body, extensions) = reply.into_parts();
        Ok(Response::from_parts(
            metadata,
            self.decode(body)?,
            extensions,
        ))
    }

    /// Calls a method that answers with a stream.
    pub async fn stream(
        &self,
        request: Request<DynamicMessage>,
    ) -> Result<impl Stream<Item = Result<DynamicMessage, Error>> + use<>, Error> {
        let request = request.map(|message| Bytes::from(message.encode_to_vec()));
        let reply = Grpc::new(self.transport.clone())
            .server_streaming(request, self.path.clone(), Encoded)
            .await?;
        let method = self.clone();
        Ok(reply.into_inner().map(move |body| method.decode(body?)))
    }

    /// Calls a unary method with JSON, for JSON.
    pub async fn json(&self, json: &str) -> Result<String, Error> {
        let reply = self.unary(Request::new(self.request(json)?)).await?;
        to_json(reply.get_ref())
    }

    fn decode(&self, body: Bytes) -> Result<DynamicMessage, Error> {
        let decoded = DynamicMessage::decode(self.method.output(), body);
        Ok(decoded
            .map_err(|error| Status::internal(format!("the reply does not decode: {error}")))?)
    }
}

/// Prints a message as the REST gateway does: names in lowerCamelCase, default values included.
pub fn to_json(message: &DynamicMessage) -> Result<String, Error> {
    let mut json = serde_json::Serializer::new(Vec::new());
    let options = SerializeOptions::new().skip_default_fields(false);
    let failed = |error: &dyn std::fmt::Display| {
        Status::internal(format!("the message cannot be printed: {error}"))
    };
    message
        .serialize_with_options(&mut json, &options)
        .map_err(|error| failed(&error))?;
    Ok(String::from_utf8(json.into_inner()).map_err(|error| failed(&error))?)
}

/// Messages that are already, or stay, encoded.
#[derive(Debug, Clone, Copy, Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
