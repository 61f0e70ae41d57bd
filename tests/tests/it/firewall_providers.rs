//! Firewalls at every provider, whatever it answers: made once, changed and taken away; put back where an operation was given up; and gone with their instance. [V9]

use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::instance::v1::firewall_rule::Protocol;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{FirewallRule, Instance};
use sewa_tests::compute::{Dialect, Fault, Verb as Done};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, refused};

use crate::firewall::{first, forgotten, get, rule, second, set, walled};
use crate::instance::{Verb, ask};
use crate::providers::{Shop, draft, open_shop, rich_reseller};

/// A shop of a vendor, and somebody with a machine of it.
async fn bought(world: &World, dialect: Dialect) -> (Shop, Actor, Instance) {
    let shop = open_shop(world, dialect).await;
    let budi = rich_reseller(world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    let machine = budi.instance(&placed.order.instance_id).await;
    (shop, budi, machine)
}

/// What the vendor lets in to the only machine there is; `None` if everything.
fn at(shop: &Shop) -> Option<Vec<String>> {
    let books = shop.cloud.books();
    let id = *books.machines.keys().next().expect("a machine");
    books.let_in(id)
}

fn arm(shop: &Shop, verb: Done, fault: Fault) {
    let mut books = shop.cloud.books();
    let label = books
        .machines
        .values()
        .next()
        .expect("a machine")
        .label
        .clone();
    books.arm(&label, verb, fault);
}

/// What is asked of the vendor by setting what, and what reaches the machine then; `None` for everything.
type Setting<'s> = (Done, bool, &'s [FirewallRule], Option<Vec<&'s str>>);

/// A firewall is made, changed and taken away at a vendor, once each, though answers are lost, late or nonsense.
async fn every_fault(dialect: Dialect, verb: Done) {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, dialect).await;
    assert!(machine.capabilities.contains(&"firewall".to_owned()));
    let id = machine.id.as_str();
    let ((rules, seen), (others, others_seen)) = (first(), second());
    let steps: [Setting<'_>; 3] = [
        (Done::CreateFirewall, true, &rules, Some(seen)),
        (Done::ChangeFirewall, true, &others, Some(others_seen)),
        (Done::DeleteFirewall, false, &others, None),
    ];
    for fault in Fault::ALL {
        if fault == Fault::Vanish {
            continue;
        }
        for (step, enabled, rules, expected) in &steps {
            if *step == verb {
                arm(&shop, verb, fault);
            }
            walled(&budi, id, *enabled, rules).await;
            let seen = at(&shop);
            let seen: Option<Vec<&str>> = seen
                .as_ref()
                .map(|all| all.iter().map(String::as_str).collect());
            assert_eq!(seen, *expected, "{step:?} {fault:?}");
            let walls = shop.cloud.books().walls.len();
            assert!(
                walls <= usize::from(*enabled),
                "{fault:?}: {walls} firewalls"
            );
        }
    }
    {
        let books = shop.cloud.books();
        assert_eq!(books.armed(), 0, "every fault met its call");
        assert!(books.invalid.is_empty(), "{:?}", books.invalid);
    }
    // A machine that is gone has nothing a firewall could be in front of.
    if verb != Done::CreateFirewall {
        walled(&budi, id, true, &rules).await;
    }
    arm(&shop, verb, Fault::Vanish);
    let asked = set(&budi, id, verb != Done::DeleteFirewall, &others)
        .await
        .unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("INSTANCE_NOT_FOUND"), "{error:?}");
    assert_eq!(budi.instance(id).await.state(), State::Lost);
    // What is left of it goes with the instance.
    let gone = ask(&budi, Verb::Delete, id, "").await.unwrap();
    budi.finish(&gone).await.unwrap();
    forgotten(&world).await;
    let books = shop.cloud.books();
    assert!(books.walls.is_empty(), "{:?}", books.walls);
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn digitalocean_makes_a_firewall_once_whatever_it_answers() {
    every_fault(Dialect::DigitalOcean, Done::CreateFirewall).await;
}

#[tokio::test]
async fn digitalocean_changes_a_firewall_whatever_it_answers() {
    every_fault(Dialect::DigitalOcean, Done::ChangeFirewall).await;
}

#[tokio::test]
async fn digitalocean_takes_a_firewall_away_whatever_it_answers() {
    every_fault(Dialect::DigitalOcean, Done::DeleteFirewall).await;
}

#[tokio::test]
async fn linode_makes_a_firewall_once_whatever_it_answers() {
    every_fault(Dialect::Linode, Done::CreateFirewall).await;
}

#[tokio::test]
async fn linode_changes_a_firewall_whatever_it_answers() {
    every_fault(Dialect::Linode, Done::ChangeFirewall).await;
}

#[tokio::test]
async fn linode_takes_a_firewall_away_whatever_it_answers() {
    every_fault(Dialect::Linode, Done::DeleteFirewall).await;
}

#[tokio::test]
async fn vultr_makes_a_firewall_once_whatever_it_answers() {
    every_fault(Dialect::Vultr, Done::CreateFirewall).await;
}

#[tokio::test]
async fn vultr_changes_a_firewall_whatever_it_answers() {
    every_fault(Dialect::Vultr, Done::ChangeFirewall).await;
}

#[tokio::test]
async fn vultr_takes_a_firewall_away_whatever_it_answers() {
    every_fault(Dialect::Vultr, Done::DeleteFirewall).await;
}

#[tokio::test]
async fn proxmox_switches_a_firewall_on_whatever_it_answers() {
    every_fault(Dialect::Proxmox, Done::CreateFirewall).await;
}

#[tokio::test]
async fn proxmox_changes_a_firewall_whatever_it_answers() {
    every_fault(Dialect::Proxmox, Done::ChangeFirewall).await;
}

#[tokio::test]
async fn proxmox_switches_a_firewall_off_whatever_it_answers() {
    every_fault(Dialect::Proxmox, Done::DeleteFirewall).await;
}

/// An operation that was asked for a quarter of an hour ago is given up when its provider does not finish.
async fn grow_old(world: &World, operation: &Operation) {
    let mut database = world.behind_the_scenes().await;
    let id: uuid::Uuid = operation.id.parse().unwrap();
    let aged =
        "update operations set created_at = created_at - interval '15 minutes' where id = $1";
    let aged = sqlx::query(aged).bind(id).execute(&mut database).await;
    assert_eq!(aged.unwrap().rows_affected(), 1);
}

/// What was set is put back where an operation was given up, and goes with its machine.
async fn an_end(dialect: Dialect) {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, dialect).await;
    let id = machine.id.as_str();
    let ((rules, seen), (others, _)) = (first(), second());
    walled(&budi, id, true, &rules).await;
    // The provider has the new rules, and its answer comes never: given up now, the operation leaves the wrong ones. One that was seen through before it was old is tried again.
    loop {
        arm(&shop, Done::ChangeFirewall, Fault::WrongState);
        arm(&shop, Done::ChangeFirewall, Fault::HangAfter);
        let asked = set(&budi, id, true, &others).await.unwrap();
        grow_old(&world, &asked).await;
        match budi.finish(&asked).await {
            Err(error) => {
                let error = refused::<()>(Err(error));
                assert!(error.is("DEADLINE_EXCEEDED"), "{error:?}");
                break;
            }
            Ok(_) => walled(&budi, id, true, &rules).await,
        }
    }
    eventually("what was set is in force again", || async {
        let firewall = get(&budi, id).await.unwrap();
        assert!(firewall.enabled && firewall.rules == rules, "{firewall:?}");
        if firewall.in_force {
            Ok(())
        } else {
            Err(firewall)
        }
    })
    .await;
    assert_eq!(at(&shop).unwrap(), seen);
    let gone = ask(&budi, Verb::Delete, id, "").await.unwrap();
    budi.finish(&gone).await.unwrap();
    forgotten(&world).await;
    let books = shop.cloud.books();
    assert!(books.walls.is_empty(), "{:?}", books.walls);
    assert!(books.proxmox.walls.is_empty(), "{:?}", books.proxmox.walls);
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn at_digitalocean_a_firewall_is_put_back_and_ends_with_its_machine() {
    an_end(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn at_linode_a_firewall_is_put_back_and_ends_with_its_machine() {
    an_end(Dialect::Linode).await;
}

#[tokio::test]
async fn at_vultr_a_firewall_is_put_back_and_ends_with_its_machine() {
    an_end(Dialect::Vultr).await;
}

#[tokio::test]
async fn on_proxmox_a_firewall_is_put_back_and_ends_with_its_machine() {
    an_end(Dialect::Proxmox).await;
}

#[tokio::test]
async fn vultr_takes_the_most_rules_there_may_be_and_as_many_others_after_them() {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, Dialect::Vultr).await;
    for first in [1, 101] {
        let ports = first..first + 25;
        let most: Vec<FirewallRule> = ports
            .map(|n| rule(Protocol::Tcp, (n, n), &["0.0.0.0/0", "::/0"]))
            .collect();
        walled(&budi, &machine.id, true, &most).await;
        let seen = at(&shop).unwrap();
        assert_eq!(seen.len(), 50);
        assert!(seen.contains(&format!("tcp {first} ::/0")), "{seen:?}");
    }
    assert!(shop.cloud.books().invalid.is_empty());
}

#[tokio::test]
async fn proxmox_refuses_while_the_firewall_of_the_cluster_is_off_and_keeps_the_operators_rules() {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, Dialect::Proxmox).await;
    let id = machine.id.as_str();
    let (rules, seen) = first();
    let vmid = *shop.cloud.books().machines.keys().next().unwrap();
    shop.cloud.books().proxmox.firewall = false;
    let asked = set(&budi, id, true, &rules).await.unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("FIREWALL_REFUSED"), "{error:?}");
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    let words = "the provider refuses the firewall: the firewall of the cluster is off";
    assert_eq!(error.message(), words);
    eventually("nothing of it is left", || async {
        let firewall = get(&budi, id).await.unwrap();
        assert!(
            !firewall.enabled && firewall.rules.is_empty(),
            "{firewall:?}"
        );
        if firewall.in_force {
            Ok(())
        } else {
            Err(firewall)
        }
    })
    .await;
    let own = [
        ("type", "out"),
        ("action", "DROP"),
        ("proto", "tcp"),
        ("dport", "25"),
        ("source", "0.0.0.0/0"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    {
        let mut books = shop.cloud.books();
        books.proxmox.firewall = true;
        let wall = books.proxmox.walls.entry(vmid).or_default();
        wall.rules.push(own.clone().into_iter().collect());
        wall.options.insert("enable".to_owned(), "1".to_owned());
        wall.options
            .insert("policy_in".to_owned(), "ACCEPT".to_owned());
    }
    walled(&budi, id, true, &rules).await;
    assert_eq!(at(&shop).unwrap(), seen);
    walled(&budi, id, false, &rules).await;
    let books = shop.cloud.books();
    let wall = &books.proxmox.walls[&vmid];
    assert_eq!(wall.rules, [own.into_iter().collect()]);
    assert_eq!(wall.options["enable"], "1", "the operator's rule goes on");
    assert_eq!(wall.options["policy_in"], "ACCEPT");
}

#[tokio::test]
async fn linode_says_why_it_refuses_a_firewall() {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, Dialect::Linode).await;
    let (rules, _) = first();
    // Somebody put another one in front of it.
    let linode = {
        let mut books = shop.cloud.books();
        let id = *books.machines.keys().next().unwrap();
        books.plant_wall("by-hand", id);
        id
    };
    let asked = set(&budi, &machine.id, true, &rules).await.unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("FIREWALL_REFUSED"), "{error:?}");
    let words = format!(
        "the provider refuses the firewall: Linode with ID {linode} already has an enabled firewall."
    );
    assert_eq!(error.message(), words);
    let seen = get(&budi, &machine.id).await.unwrap();
    assert!(!seen.enabled && seen.rules.is_empty(), "{seen:?}");
    let books = shop.cloud.books();
    let names: Vec<&str> = books.walls.values().map(|w| w.name.as_str()).collect();
    assert_eq!(names, ["by-hand"], "it is not ours");
}
