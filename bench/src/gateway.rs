//! Our REST beside what people put in front of a gRPC server otherwise, each a process of its own in front of the gRPC of the same server: grpc-gateway, generated from
//! the same contract, and structured-proxy, which reads its descriptors as ours does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use prost::Message;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost_types::MethodDescriptorProto;
use tempfile::NamedTempFile;

use crate::Plan;
use crate::goals::{line, rest_call, rest_order, rest_read, show};
use crate::load::{self, Shot};
use crate::platform::{Server, free_port};

/// The same reads and orders through our REST and through the others, by what a second of processor time of all processes on the way gives. PostgreSQL is not
/// counted: it does the same for all.
pub(crate) async fn rest_against_gateways(server: &Server, plan: Plan) -> anyhow::Result<()> {
    let gateway = grpc_gateway(server).await?;
    against(server, "grpc-gateway", &gateway, plan, 3.0).await?;
    drop(gateway);
    let (proxy, _files) = structured_proxy(server).await?;
    against(server, "structured-proxy", &proxy, plan, 1.2).await
}

async fn grpc_gateway(server: &Server) -> anyhow::Result<Server> {
    let program = build("grpc-gateway", "sewa-grpc-gateway")?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command.args([port, server.port].map(|port| format!("127.0.0.1:{port}")));
    Server::spawn(&mut command, port).await
}

/// The files are read at its start.
async fn structured_proxy(server: &Server) -> anyhow::Result<(Server, [NamedTempFile; 2])> {
    let program = build("structured-proxy", "structured-proxy")?;
    let port = free_port()?;
    let mut descriptors = NamedTempFile::new()?;
    descriptors.write_all(&measured_methods()?)?;
    let mut settings = NamedTempFile::with_suffix(".yaml")?;
    write!(
        settings,
        "listen: {{ http: '127.0.0.1:{port}' }}\nupstream: {{ default: 'http://127.0.0.1:{}' }}\ndescriptors: [{{ file: '{}' }}]\nservice: {{ name: sewa }}\n",
        server.port,
        descriptors.path().display()
    )?;
    let mut command = Command::new(program);
    command.arg("--config").arg(settings.path());
    command.env("RUST_LOG", "error");
    Ok((
        Server::spawn(&mut command, port).await?,
        [descriptors, settings],
    ))
}

/// The contract with only the methods that are measured. structured-proxy does not start on the whole: it takes no path with a verb after a parameter, and no two
/// paths that name the same segment differently.
fn measured_methods() -> anyhow::Result<Vec<u8>> {
    // Files, services and methods by their field numbers in descriptor.proto. Options stay as the bytes they are.
    only(sewa_sdk::DESCRIPTORS, &[1, 6, 2], &|method| {
        let name = MethodDescriptorProto::decode(method)?
            .name
            .unwrap_or_default();
        Ok(["GetCaller", "GetWallet", "PlaceOrder"].contains(&name.as_str()))
    })
}

/// A message without those submessages at the end of a path of field numbers that `keep` does not want.
fn only(
    message: &[u8],
    path: &[u32],
    keep: &dyn Fn(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<Vec<u8>> {
    let mut kept = Vec::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let field = rest;
        let (number, kind) = decode_key(&mut rest)?;
        if number == path[0] && kind == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest)?)?;
            let (inner, after) = rest
                .split_at_checked(length)
                .context("a field broken off")?;
            rest = after;
            match &path[1..] {
                [] if !keep(inner)? => {}
                [] => kept.extend_from_slice(&field[..field.len() - rest.len()]),
                deeper => {
                    let inner = only(inner, deeper, keep)?;
                    encode_key(number, kind, &mut kept);
                    encode_varint(inner.len() as u64, &mut kept);
                    kept.extend(inner);
                }
            }
        } else {
            skip_field(kind, number, &mut rest, DecodeContext::default())?;
            kept.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    Ok(kept)
}

/// Runs the script `build` of a baseline, which leaves its program in .tools/bin.
fn build(baseline: &str, program: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(baseline);
    let built = Command::new(folder.join("build")).status()?;
    anyhow::ensure!(built.success(), "{baseline} does not build");
    Ok(folder.join("../../.tools/bin").join(program))
}

async fn against(
    server: &Server,
    name: &str,
    other: &Server,
    plan: Plan,
    target: f64,
) -> anyhow::Result<()> {
    for (what, shot) in [
        ("calls", rest_call()),
        ("reads", rest_read()),
        ("orders", rest_order()),
    ] {
        let mut ratios = Vec::new();
        for _ in 0..plan.pairs {
            let ours = run(what, "ours", server.port, &shot, plan, &[server]).await?;
            let theirs = run(what, name, other.port, &shot, plan, &[server, other])
                .await
                .with_context(|| format!("{what} through {name}"))?;
            ratios.push(ours / theirs);
        }
        line(&format!("P11 {what} {name}"), &ratios, target);
    }
    Ok(())
}

/// Calls for a second of processor time.
async fn run(
    what: &str,
    name: &str,
    port: u16,
    shot: &Shot,
    plan: Plan,
    way: &[&Server],
) -> anyhow::Result<f64> {
    let before: Vec<_> = way.iter().map(|process| process.cpu()).collect();
    let outcome = load::run(port, shot.clone(), 64, plan.seconds).await?;
    let used: Vec<_> = way
        .iter()
        .zip(before)
        .map(|(process, before)| process.cpu().saturating_sub(before).as_secs_f64())
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let calls = outcome.calls as f64 * plan.seconds as f64 / (plan.seconds - 1) as f64;
    let each: Vec<_> = used
        .iter()
        .map(|used| format!("{:.0}", used / calls * 1e6))
        .collect();
    println!(
        "  P11: {what}, {name}: {}; {} us of CPU for each",
        show(&outcome),
        each.join(" + ")
    );
    Ok(calls / used.iter().sum::<f64>())
}
