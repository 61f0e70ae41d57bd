//! Our REST beside grpc-gateway, which people put in front of a gRPC server otherwise: generated from the same contract, a process of its own, in front of the
//! gRPC of the same server.

use std::path::Path;
use std::process::Command;

use crate::Plan;
use crate::goals::{line, rest_order, rest_read, show};
use crate::load::{self, Shot};
use crate::platform::{Server, free_port};

/// Builds the gateway and starts it in front of a server.
async fn start(server: &Server) -> anyhow::Result<Server> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grpc-gateway");
    let built = Command::new(folder.join("build")).status()?;
    anyhow::ensure!(built.success(), "grpc-gateway does not build");
    let port = free_port()?;
    let mut command = Command::new(folder.join("../../.tools/bin/sewa-grpc-gateway"));
    command.args([port, server.port].map(|port| format!("127.0.0.1:{port}")));
    Server::spawn(&mut command, port).await
}

/// The same reads and orders through our REST and through grpc-gateway, by what a second of processor time of all processes on the way gives. PostgreSQL is not
/// counted: it does the same for both.
pub(crate) async fn rest_against_gateway(server: &Server, plan: Plan) -> anyhow::Result<()> {
    let gateway = start(server).await?;
    for (what, shot) in [("reads", rest_read()), ("orders", rest_order())] {
        let mut ratios = Vec::new();
        for _ in 0..plan.pairs {
            let ours = run(what, "ours", server.port, &shot, plan, &[server]).await?;
            let theirs = run(
                what,
                "grpc-gateway",
                gateway.port,
                &shot,
                plan,
                &[server, &gateway],
            )
            .await?;
            ratios.push(ours / theirs);
        }
        line(&format!("P11 {what}"), &ratios, 3.0);
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
