//! Firewalls: the wire.

use sewa_sdk::sewa::instance::v1 as proto;
use sewa_sdk::sewa::instance::v1::firewall_service_server::FirewallService;
use sewa_sdk::sewa::instance::v1::{
    GetFirewallRequest, GetFirewallResponse, SetFirewallRequest, SetFirewallResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::InstanceId;
use crate::base::status::{self, Invalid};
use crate::base::writes::{self, Claim};
use crate::provider::compute::firewalls::{Network, Protocol, Rule};
use crate::service::instance::ask::Target;
use crate::service::instance::model::firewall::{SOURCES, Wish, needless};
use crate::service::instance::{convert, firewall};
use crate::service::operation;

/// Serves `FirewallService`.
pub struct Walls {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl FirewallService for Walls {
    async fn get_firewall(
        &self,
        request: Request<GetFirewallRequest>,
    ) -> Result<Response<GetFirewallResponse>, Status> {
        let call = Call::of(&request)?;
        let instance = super::visible(&self.app, &call, &request.get_ref().instance_id).await?;
        let connection = self.app.db.acquire().await;
        let mut connection = connection.map_err(|e| status::database(&e))?;
        let found = firewall::get(&self.app.providers, &mut connection, &instance).await?;
        Ok(Response::new(GetFirewallResponse {
            firewall: Some(convert::firewall(found.as_ref())),
        }))
    }

    async fn set_firewall(
        &self,
        request: Request<SetFirewallRequest>,
    ) -> Result<Response<SetFirewallResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.instance_id)?,
            etag: &request.etag,
        };
        let wish = Wish {
            enabled: request.enabled,
            rules: rules(&request.rules)?,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let (providers, now) = (&self.app.providers, self.app.clock.now());
        let asked = firewall::set(providers, &mut write.tx, target, &wish, now).await;
        let recorded = |operation| SetFirewallResponse {
            operation: Some(operation::convert::new_to_proto(&operation)),
        };
        let reply = write
            .finish(asked.map(recorded).map_err(Status::from))
            .await;
        self.app.tail.wake();
        reply
    }
}

/// Reads rules. The edge has checked each by itself; what they are together is checked here.
fn rules(rules: &[proto::FirewallRule]) -> Result<Vec<Rule>, Status> {
    let mut invalid = Vec::new();
    let mut read = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let mut sources = Vec::new();
        for (place, text) in rule.source_cidrs.iter().enumerate() {
            match Network::parse(text) {
                Some(network) => sources.push(network),
                None => invalid.push(Invalid::new(
                    format!("rules[{at}].source_cidrs[{place}]"),
                    "STRING_IP_PREFIX",
                    "must be a network, IPv4 not written as IPv6",
                )),
            }
        }
        let protocol = match rule.protocol() {
            proto::firewall_rule::Protocol::Tcp => Some(Protocol::Tcp),
            proto::firewall_rule::Protocol::Udp => Some(Protocol::Udp),
            proto::firewall_rule::Protocol::Icmp => Some(Protocol::Icmp),
            proto::firewall_rule::Protocol::Unspecified => None,
        };
        let ports = (
            u16::try_from(rule.first_port),
            u16::try_from(rule.last_port),
        );
        let (Some(protocol), (Ok(first_port), Ok(last_port))) = (protocol, ports) else {
            let must = "must have a protocol and its ports";
            let field = format!("rules[{at}]");
            invalid.push(Invalid::new(field, "FIREWALL_RULE_PORTS", must));
            continue;
        };
        read.push(Rule {
            protocol,
            first_port,
            last_port,
            sources,
            description: rule.description.clone(),
        });
    }
    if !invalid.is_empty() {
        return Err(status::invalid_all(invalid));
    }
    let sources: usize = read.iter().map(|rule| rule.sources.len()).sum();
    if sources > SOURCES {
        let must = format!("must have at most {SOURCES} sources in all");
        return Err(status::invalid(Invalid::new(
            "rules",
            "SET_FIREWALL_SOURCES",
            must,
        )));
    }
    let covered = needless(&read).into_iter().map(|one| {
        Invalid::new(
            format!("rules[{}].source_cidrs[{}]", one.rule, one.source),
            "SET_FIREWALL_COVERED",
            format!("is let in by rules[{}] already", one.by),
        )
    });
    let covered: Vec<Invalid> = covered.collect();
    if covered.is_empty() {
        Ok(read)
    } else {
        Err(status::invalid_all(covered))
    }
}
