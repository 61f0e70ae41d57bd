//! Descriptors from the server itself, by gRPC server reflection.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// The service under its name of today, and under the one older servers know. The messages are the same.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Asks a server for the descriptors of all its services, with everything they import.
pub(crate) async fn read(channel: &Channel) -> anyhow::Result<DescriptorPool> {
    let [today, before] = PATHS;
    let (conversation, services) = match Conversation::begin(channel, today).await {
        Err(error) if is_unimplemented(&error) => Conversation::begin(channel, before).await?,
        begun => begun?,
    };
    let files = conversation.files_of(services).await?;
    let pool = DescriptorPool::decode(encoded_set(&files).as_slice())
        .context("the server's descriptors do not fit together")?;
    Ok(pool)
}

fn is_unimplemented(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<tonic::Status>()
        .is_some_and(|status| status.code() == Code::Unimplemented)
}

/// One stream of questions and answers, one at a time.
struct Conversation {
    ask: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

impl Conversation {
    /// Opens the stream and asks which services there are.
    async fn begin(channel: &Channel, path: &'static str) -> anyhow::Result<(Self, Vec<String>)> {
        let (ask, questions) = mpsc::channel(1);
        // Servers may answer with their head only once they were asked something.
        ask.send(question(MessageRequest::ListServices(String::new())))
            .await?;
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await?;
        let request = Request::new(ReceiverStream::new(questions));
        let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
        let path = PathAndQuery::from_static(path);
        let answers = client.streaming(request, path, codec).await?.into_inner();
        let mut begun = Self { ask, answers };
        match begun.answer().await? {
            MessageResponse::ListServicesResponse(list) => {
                let names = list.service.into_iter().map(|service| service.name);
                Ok((begun, names.collect()))
            }
            other => bail!("the server was asked for its services and said {other:?}"),
        }
    }

    async fn answer(&mut self) -> anyhow::Result<MessageResponse> {
        let answer = self.answers.message().await?;
        let answer = answer.and_then(|answer| answer.message_response);
        answer.context("the server ended the conversation")
    }

    /// The files that declare these services, and all they import, by name.
    async fn files_of(mut self, services: Vec<String>) -> anyhow::Result<BTreeMap<String, Bytes>> {
        let mut files = BTreeMap::new();
        let mut wanted: VecDeque<MessageRequest> = services
            .into_iter()
            .map(MessageRequest::FileContainingSymbol)
            .collect();
        while let Some(next) = wanted.pop_front() {
            let name = match &next {
                MessageRequest::FileByFilename(name) if files.contains_key(name) => continue,
                MessageRequest::FileByFilename(name)
                | MessageRequest::FileContainingSymbol(name) => name.clone(),
                _ => continue,
            };
            self.ask.send(question(next)).await?;
            let found = match self.answer().await? {
                MessageResponse::FileDescriptorResponse(found) => found.file_descriptor_proto,
                MessageResponse::ErrorResponse(error) => {
                    bail!(
                        "the server has no descriptor of {name}: {}",
                        error.error_message
                    )
                }
                other => bail!("the server was asked for {name} and said {other:?}"),
            };
            // Some servers send what is imported along, some wait to be asked.
            for bytes in found {
                let file = FileDescriptorProto::decode(bytes.as_slice())
                    .with_context(|| format!("the descriptor of {name}"))?;
                let imports = file.dependency.into_iter();
                wanted.extend(imports.map(MessageRequest::FileByFilename));
                files.insert(file.name.unwrap_or_default(), bytes.into());
            }
        }
        Ok(files)
    }
}

fn question(message: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    }
}

/// A `FileDescriptorSet` of files as they came: read and written again they would lose their annotations.
fn encoded_set(files: &BTreeMap<String, Bytes>) -> Vec<u8> {
    let mut set = Vec::new();
    for file in files.values() {
        prost::encoding::bytes::encode(1, file, &mut set);
    }
    set
}
