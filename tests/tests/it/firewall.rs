//! Firewalls: set, changed and switched off; what is no rule is refused; and they are nobody's but the owner's. [V9]

use sewa_sdk::Error;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::{Kind, State as Progress};
use sewa_sdk::sewa::instance::v1::firewall_rule::Protocol;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{
    Firewall, FirewallRule, GetFirewallRequest, SetFirewallRequest,
};
use sewa_sdk::sewa::operation::v1::GetOperationRequest;
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};

use crate::instance::{Verb, ask, owner_of_a_machine};
use crate::lifecycle::owner;

pub(crate) fn rule(protocol: Protocol, ports: (i32, i32), sources: &[&str]) -> FirewallRule {
    FirewallRule {
        protocol: protocol as i32,
        first_port: ports.0,
        last_port: ports.1,
        source_cidrs: sources.iter().map(|&s| s.to_owned()).collect(),
        description: format!("{protocol:?}; not for \"providers\""),
    }
}

/// SSH from an office and the web from everywhere, and how a cloud has that.
pub(crate) fn first() -> (Vec<FirewallRule>, Vec<&'static str>) {
    let rules = vec![
        rule(Protocol::Tcp, (22, 22), &["203.0.113.0/24"]),
        rule(Protocol::Tcp, (80, 443), &["0.0.0.0/0", "::/0"]),
        rule(Protocol::Icmp, (0, 0), &["0.0.0.0/0", "2001:db8::/32"]),
    ];
    let seen = vec![
        "icmp 0.0.0.0/0",
        "icmp 2001:db8::/32",
        "tcp 22 203.0.113.0/24",
        "tcp 80-443 0.0.0.0/0",
        "tcp 80-443 ::/0",
    ];
    (rules, seen)
}

/// Something else, with some of the same.
pub(crate) fn second() -> (Vec<FirewallRule>, Vec<&'static str>) {
    let rules = vec![
        rule(Protocol::Tcp, (1, 65535), &["198.51.100.7/32"]),
        rule(Protocol::Tcp, (22, 22), &["203.0.113.0/24", "::/0"]),
        rule(Protocol::Udp, (53, 53), &["0.0.0.0/0"]),
    ];
    let seen = vec![
        "tcp 1-65535 198.51.100.7/32",
        "tcp 22 203.0.113.0/24",
        "tcp 22 ::/0",
        "udp 53 0.0.0.0/0",
    ];
    (rules, seen)
}

fn request(instance_id: &str, enabled: bool, rules: &[FirewallRule]) -> SetFirewallRequest {
    SetFirewallRequest {
        instance_id: instance_id.to_owned(),
        enabled,
        rules: rules.to_vec(),
        etag: String::new(),
    }
}

pub(crate) async fn set(
    owner: &Actor,
    instance_id: &str,
    enabled: bool,
    rules: &[FirewallRule],
) -> Result<Operation, Error> {
    let request = request(instance_id, enabled, rules);
    let reply = owner.firewalls().set_firewall(request).await?;
    Ok(reply.into_inner().operation.expect("an operation"))
}

pub(crate) async fn get(owner: &Actor, instance_id: &str) -> Result<Firewall, Error> {
    let request = GetFirewallRequest {
        instance_id: instance_id.to_owned(),
    };
    let reply = owner.firewalls().get_firewall(request).await?;
    Ok(reply.into_inner().firewall.expect("a firewall"))
}

/// Sets a firewall and sees it through.
pub(crate) async fn walled(
    owner: &Actor,
    instance_id: &str,
    enabled: bool,
    rules: &[FirewallRule],
) {
    let asked = set(owner, instance_id, enabled, rules).await.unwrap();
    assert_eq!(asked.kind(), Kind::SetFirewall);
    owner.finish(&asked).await.unwrap();
    let firewall = get(owner, instance_id).await.unwrap();
    assert_eq!((firewall.enabled, firewall.in_force), (enabled, true));
    assert_eq!(firewall.rules, rules);
    assert!(firewall.set_time.is_some());
}

/// What the built-in cloud lets in, as it keeps it; `None` if everything.
async fn at_the_simulator(world: &World) -> Option<serde_json::Value> {
    let mut database = world.behind_the_scenes().await;
    let row = sqlx::query_scalar("select firewall from sim_machines");
    row.fetch_one(&mut database).await.unwrap()
}

async fn clear(owner: &Actor) {
    let cleared = owner.sandbox().clear_faults(ClearFaultsRequest {}).await;
    cleared.unwrap();
}

/// Rows of firewalls that our books have.
async fn books(world: &World) -> i64 {
    let mut database = world.behind_the_scenes().await;
    let count = sqlx::query_scalar("select count(*) from firewalls");
    count.fetch_one(&mut database).await.unwrap()
}

/// Waits until our books have forgotten every firewall, which they do when the provider shows none.
pub(crate) async fn forgotten(world: &World) {
    eventually("no firewall is left in the books", || async {
        match books(world).await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

#[tokio::test]
async fn a_firewall_is_set_changed_switched_and_stays_until_the_machine_goes() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let id = machine.id.as_str();
    assert!(machine.capabilities.contains(&"firewall".to_owned()));
    let open = get(&budi, id).await.unwrap();
    assert_eq!(
        open,
        Firewall {
            in_force: true,
            ..Default::default()
        }
    );

    let (rules, _) = first();
    let ask_for = || request(id, true, &rules);
    let mut stub = budi.firewalls();
    let asked = stub.set_firewall(keyed("f", ask_for())).await.unwrap();
    let again = stub.set_firewall(keyed("f", ask_for())).await.unwrap();
    assert!(is_replay(&again));
    let operation = asked.into_inner().operation.unwrap();
    assert_eq!(again.into_inner().operation.unwrap(), operation);
    budi.finish(&operation).await.unwrap();
    let seen = get(&budi, id).await.unwrap();
    assert!(seen.enabled && seen.in_force && seen.rules == rules);
    let kept = at_the_simulator(&world).await.expect("a firewall");
    assert_eq!(kept.as_array().map(Vec::len), Some(3));

    // Networks are shown in one form, however they were written.
    let written = [rule(Protocol::Tcp, (22, 22), &["2001:0DB8:0:0::/32"])];
    let asked = set(&budi, id, true, &written).await.unwrap();
    budi.finish(&asked).await.unwrap();
    let shown = get(&budi, id).await.unwrap().rules;
    assert_eq!(shown[0].source_cidrs, ["2001:db8::/32"]);

    let (rules, _) = second();
    walled(&budi, id, true, &rules).await;
    for verb in [Verb::Rebuild, Verb::PowerOff] {
        let done = ask(&budi, verb, id, "").await.unwrap();
        budi.finish(&done).await.unwrap();
    }
    let seen = get(&budi, id).await.unwrap();
    assert!(seen.enabled && seen.in_force && seen.rules == rules);
    assert!(at_the_simulator(&world).await.is_some());
    // Switched off it keeps its rules in our books, and nothing at the provider.
    walled(&budi, id, false, &rules).await;
    assert_eq!(at_the_simulator(&world).await, None);
    walled(&budi, id, true, &rules).await;
    let gone = ask(&budi, Verb::Delete, id, "").await.unwrap();
    budi.finish(&gone).await.unwrap();
    forgotten(&world).await;
}

#[tokio::test]
async fn what_is_not_the_callers_or_no_rule_is_refused() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let siti = world.reseller().await;
    let id = machine.id.as_str();
    let (rules, _) = first();
    for id in [id, NOBODYS_ID] {
        let foreign = set(&siti, id, true, &rules).await;
        assert_eq!(reason_of(foreign), "INSTANCE_NOT_FOUND");
        assert_eq!(reason_of(get(&siti, id).await), "INSTANCE_NOT_FOUND");
    }
    let all = "0.0.0.0/0";
    let tcp = |ports, sources: &[&str]| rule(Protocol::Tcp, ports, sources);
    let many: Vec<String> = (0..26).map(|n| format!("10.{n}.0.0/16")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let wordy = FirewallRule {
        description: "a".repeat(101),
        ..tcp((22, 22), &[all])
    };
    let bad: Vec<(&str, Vec<FirewallRule>)> = vec![
        ("", vec![]),
        ("rules", (1..=26).map(|n| tcp((n, n), &[all])).collect()),
        ("rules", vec![tcp((22, 22), &many), tcp((23, 23), &many)]),
        (
            "rules[0].protocol",
            vec![rule(Protocol::Unspecified, (22, 22), &[all])],
        ),
        ("rules[0]", vec![tcp((0, 22), &[all])]),
        ("rules[0]", vec![tcp((23, 22), &[all])]),
        ("rules[0]", vec![tcp((22, 0), &[all])]),
        ("rules[0]", vec![rule(Protocol::Icmp, (8, 8), &[all])]),
        ("rules[0].last_port", vec![tcp((22, 65536), &[all])]),
        ("rules[0].source_cidrs", vec![tcp((22, 22), &[])]),
        (
            "rules[0].source_cidrs[0]",
            vec![tcp((22, 22), &["203.0.113.7"])],
        ),
        (
            "rules[0].source_cidrs[0]",
            vec![tcp((22, 22), &["203.0.113.7/24"])],
        ),
        (
            "rules[0].source_cidrs[0]",
            vec![tcp((22, 22), &["2001:db8::1/64"])],
        ),
        (
            "rules[0].source_cidrs[1]",
            vec![tcp((22, 22), &[all, "everywhere"])],
        ),
        (
            "rules[0].source_cidrs[0]",
            vec![tcp((22, 22), &["::ffff:203.0.113.0/120"])],
        ),
        ("rules[0].description", vec![wordy]),
        // What another one lets in already.
        ("rules[0].source_cidrs[1]", vec![tcp((22, 22), &[all, all])]),
        (
            "rules[0].source_cidrs[0]",
            vec![tcp((22, 22), &["10.0.0.0/8", all])],
        ),
        (
            "rules[1].source_cidrs[0]",
            vec![tcp((1, 100), &[all]), tcp((22, 22), &["10.0.0.0/8"])],
        ),
        (
            "rules[1].source_cidrs[0]",
            vec![tcp((22, 22), &[all]), tcp((22, 22), &[all])],
        ),
    ];
    for (field, rules) in bad {
        let error = refused(set(&budi, id, true, &rules).await);
        assert!(error.is("INVALID_REQUEST"), "{rules:?}: {error:?}");
        let violations = error.field_violations();
        let told = violations.iter().any(|v| v.field == field);
        assert!(told, "{field}: {violations:?}");
    }
    // As many as there may be.
    let most: Vec<FirewallRule> = (1..=25).map(|n| tcp((n, n), &[all, "::/0"])).collect();
    walled(&budi, id, true, &most).await;
    walled(&budi, id, false, &[]).await;

    // One whose etag is no longer true, and one while something else is under way.
    let mut stale = request(id, true, &rules);
    stale.etag = "r0".to_owned();
    let late = budi.firewalls().set_firewall(stale).await;
    assert_eq!(reason_of(late), "ETAG_MISMATCH");
    budi.inject(FaultKind::Error, 0).await;
    let first = set(&budi, id, true, &rules).await.unwrap();
    let busy = set(&budi, id, false, &rules).await;
    assert_eq!(reason_of(busy), "OPERATION_IN_PROGRESS");
    clear(&budi).await;
    budi.finish(&first).await.unwrap();

    let gone = ask(&budi, Verb::Delete, id, "").await.unwrap();
    budi.finish(&gone).await.unwrap();
    let late = set(&budi, id, true, &rules).await;
    assert_eq!(reason_of(late), "ILLEGAL_STATE");
}

#[tokio::test]
async fn a_suspended_machine_keeps_its_firewall() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    let (rules, _) = first();
    walled(&budi, &machine.id, true, &rules).await;
    budi.outlast(&machine).await;
    budi.wait_instance(&machine.id, "is suspended", |i| {
        i.state() == State::Suspended && i.operation_id.is_empty()
    })
    .await;
    let other = set(&budi, &machine.id, false, &[]).await;
    assert_eq!(reason_of(other), "INSTANCE_SUSPENDED");
    let kept = get(&budi, &machine.id).await.unwrap();
    assert!(kept.enabled && kept.in_force && kept.rules == rules);
    assert!(at_the_simulator(&world).await.is_some());
}

#[tokio::test]
async fn a_lost_answer_is_looked_into_and_the_firewall_is_set() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    for (enabled, (rules, _)) in [(true, first()), (true, second()), (false, first())] {
        budi.inject(FaultKind::AnswerLost, 1).await;
        walled(&budi, &machine.id, enabled, &rules).await;
        assert_eq!(at_the_simulator(&world).await.is_some(), enabled);
    }
}

#[tokio::test]
async fn what_a_server_that_was_killed_began_is_seen_through() {
    let mut world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let (rules, _) = first();
    budi.inject(FaultKind::Error, 0).await;
    let asked = set(&budi, &machine.id, true, &rules).await.unwrap();
    eventually("somebody works on it", || async {
        let request = GetOperationRequest {
            operation_id: asked.id.clone(),
        };
        let reply = budi.operations().get_operation(request).await.unwrap();
        let state = reply.into_inner().operation.unwrap().state();
        if state == Progress::Running {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
    world.restart();
    clear(&budi).await;
    budi.finish(&asked).await.unwrap();
    let seen = get(&budi, &machine.id).await.unwrap();
    assert!(seen.enabled && seen.in_force && seen.rules == rules);
    assert!(at_the_simulator(&world).await.is_some());
}
