//! Reverse DNS: addresses are named and put back, what a provider refuses is told in its words, and nobody names what is not theirs. [V9]

use sewa_sdk::Error;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{
    GetReverseDnsRequest, Instance, ReverseDnsRecord, SetReverseDnsRequest,
};
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::compute::{Dialect, Fault, Verb as Done};
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};

use crate::instance::{Verb, ask, owner_of_a_machine};
use crate::lifecycle::owner;
use crate::providers::{Shop, draft, open_shop, rich_reseller};

const NAME: &str = "mail.example.com";

fn request(instance_id: &str, address: &str, hostname: &str) -> SetReverseDnsRequest {
    SetReverseDnsRequest {
        instance_id: instance_id.to_owned(),
        address: address.to_owned(),
        hostname: hostname.to_owned(),
        etag: String::new(),
    }
}

async fn set(
    owner: &Actor,
    instance_id: &str,
    address: &str,
    hostname: &str,
) -> Result<Operation, Error> {
    let request = request(instance_id, address, hostname);
    let reply = owner.reverse_dns().set_reverse_dns(request).await?;
    Ok(reply.into_inner().operation.expect("an operation"))
}

async fn get(owner: &Actor, instance_id: &str) -> Result<Vec<ReverseDnsRecord>, Error> {
    let request = GetReverseDnsRequest {
        instance_id: instance_id.to_owned(),
    };
    let reply = owner.reverse_dns().get_reverse_dns(request).await?;
    Ok(reply.into_inner().records)
}

/// Names an address and sees it through.
async fn named(owner: &Actor, instance_id: &str, address: &str, hostname: &str) {
    let asked = set(owner, instance_id, address, hostname).await.unwrap();
    assert_eq!(asked.kind(), Kind::SetReverseDns);
    owner.finish(&asked).await.unwrap();
}

/// The names alone.
async fn names(owner: &Actor, instance_id: &str) -> Vec<String> {
    let records = get(owner, instance_id).await.unwrap();
    for record in &records {
        assert_eq!(record.set_time.is_some(), !record.hostname.is_empty());
    }
    records.into_iter().map(|r| r.hostname).collect()
}

/// What the built-in cloud has, for IPv4 and IPv6.
async fn at_the_simulator(world: &World) -> (Option<String>, Option<String>) {
    let mut database = world.behind_the_scenes().await;
    let row = sqlx::query_as("select reverse_ipv4, reverse_ipv6 from sim_machines");
    row.fetch_one(&mut database).await.unwrap()
}

#[tokio::test]
async fn addresses_are_named_and_put_back_and_stay_so_through_a_rebuild() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    assert!(machine.capabilities.contains(&"reverse_dns".to_owned()));
    let (v4, v6) = (&machine.ipv4_address, &machine.ipv6_address);
    let shown = get(&budi, &machine.id).await.unwrap();
    let addresses: Vec<&String> = shown.iter().map(|r| &r.address).collect();
    assert_eq!(addresses, [v4, v6]);
    assert_eq!(names(&budi, &machine.id).await, ["", ""]);

    let ask_for = || request(&machine.id, v4, "Mail.Example.COM");
    let mut stub = budi.reverse_dns();
    let first = stub.set_reverse_dns(keyed("r", ask_for())).await.unwrap();
    let again = stub.set_reverse_dns(keyed("r", ask_for())).await.unwrap();
    assert!(is_replay(&again));
    let operation = first.into_inner().operation.unwrap();
    assert_eq!(again.into_inner().operation.unwrap(), operation);
    budi.finish(&operation).await.unwrap();
    assert_eq!(names(&budi, &machine.id).await, [NAME, ""]);
    assert_eq!(
        at_the_simulator(&world).await,
        (Some(NAME.to_owned()), None)
    );
    // The other one, in another form, which is the same address.
    let groups = v6.parse::<std::net::Ipv6Addr>().unwrap().segments();
    let long = groups.map(|group| format!("{group:04X}")).join(":");
    named(&budi, &machine.id, &long, "v6.example.com").await;
    assert_eq!(names(&budi, &machine.id).await, [NAME, "v6.example.com"]);

    let rebuilt = ask(&budi, Verb::Rebuild, &machine.id, "").await.unwrap();
    budi.finish(&rebuilt).await.unwrap();
    assert_eq!(names(&budi, &machine.id).await, [NAME, "v6.example.com"]);
    let off = ask(&budi, Verb::PowerOff, &machine.id, "").await.unwrap();
    budi.finish(&off).await.unwrap();
    named(&budi, &machine.id, v4, "").await;
    assert_eq!(names(&budi, &machine.id).await, ["", "v6.example.com"]);
    let (four, six) = at_the_simulator(&world).await;
    assert_eq!((four, six.as_deref()), (None, Some("v6.example.com")));

    let gone = ask(&budi, Verb::Delete, &machine.id, "").await.unwrap();
    budi.finish(&gone).await.unwrap();
    assert_eq!(
        names(&budi, &machine.id).await,
        ["", ""],
        "they are somebody else's now"
    );
}

#[tokio::test]
async fn what_is_not_the_callers_or_no_name_is_refused() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let siti = world.reseller().await;
    let v4 = machine.ipv4_address.as_str();
    for id in [machine.id.as_str(), NOBODYS_ID] {
        assert_eq!(
            reason_of(set(&siti, id, v4, NAME).await),
            "INSTANCE_NOT_FOUND"
        );
        assert_eq!(reason_of(get(&siti, id).await), "INSTANCE_NOT_FOUND");
    }
    for foreign in ["203.0.113.7", "2001:db8:ffff::1", "127.0.0.1"] {
        let error = refused(set(&budi, &machine.id, foreign, NAME).await);
        assert!(error.is("ADDRESS_NOT_OF_INSTANCE"), "{error:?}");
        assert_eq!(error.metadata("address"), Some(foreign));
        let fields: Vec<&str> = error
            .field_violations()
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(fields, ["address"]);
    }
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}.com", "a".repeat(57));
    assert_eq!(longest.len(), 253);
    let bad = [
        ("address", "nonsense", NAME.to_owned()),
        ("address", "", NAME.to_owned()),
        ("hostname", v4, "mail".to_owned()),
        ("hostname", v4, "mail.example.com.".to_owned()),
        ("hostname", v4, "-mail.example.com".to_owned()),
        ("hostname", v4, "mail-.example.com".to_owned()),
        ("hostname", v4, "ma_il.example.com".to_owned()),
        ("hostname", v4, "mail..example.com".to_owned()),
        ("hostname", v4, "10.0.0.1".to_owned()),
        ("hostname", v4, "*.example.com".to_owned()),
        ("hostname", v4, "käse.example.com".to_owned()),
        ("hostname", v4, format!("{label}a.example.com")),
        ("hostname", v4, format!("a{longest}")),
    ];
    for (field, address, hostname) in bad {
        let error = refused(set(&budi, &machine.id, address, &hostname).await);
        assert!(error.is("INVALID_REQUEST"), "{hostname}: {error:?}");
        let violations = error.field_violations();
        assert!(
            !violations.is_empty() && violations.iter().all(|v| v.field == field),
            "{hostname}: {violations:?}"
        );
    }
    // One whose etag is no longer true, and one while something else is under way.
    let mut stale = request(&machine.id, v4, NAME);
    stale.etag = "r0".to_owned();
    let late = budi.reverse_dns().set_reverse_dns(stale).await;
    assert_eq!(reason_of(late), "ETAG_MISMATCH");
    budi.inject(FaultKind::Error, 0).await;
    let first = set(&budi, &machine.id, v4, &longest).await.unwrap();
    let busy = set(&budi, &machine.id, v4, NAME).await;
    assert_eq!(reason_of(busy), "OPERATION_IN_PROGRESS");
    let cleared = budi.sandbox().clear_faults(ClearFaultsRequest {}).await;
    cleared.unwrap();
    budi.finish(&first).await.unwrap();
    assert_eq!(names(&budi, &machine.id).await, [longest.as_str(), ""]);

    // What the cloud refuses ends the operation, and changes nothing.
    let refusal = set(&budi, &machine.id, v4, "mail.invalid").await.unwrap();
    let error = refused(budi.finish(&refusal).await);
    assert!(error.is("REVERSE_DNS_REFUSED"), "{error:?}");
    assert_eq!(names(&budi, &machine.id).await, [longest.as_str(), ""]);

    let gone = ask(&budi, Verb::Delete, &machine.id, "").await.unwrap();
    budi.finish(&gone).await.unwrap();
    let late = set(&budi, &machine.id, v4, NAME).await;
    assert_eq!(reason_of(late), "ILLEGAL_STATE");
}

#[tokio::test]
async fn a_suspended_machine_keeps_its_names() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    named(&budi, &machine.id, &machine.ipv4_address, NAME).await;
    budi.outlast(&machine).await;
    budi.wait_instance(&machine.id, "is suspended", |i| {
        i.state() == State::Suspended && i.operation_id.is_empty()
    })
    .await;
    let other = set(&budi, &machine.id, &machine.ipv4_address, "").await;
    assert_eq!(reason_of(other), "INSTANCE_SUSPENDED");
    assert_eq!(names(&budi, &machine.id).await, [NAME, ""]);
}

#[tokio::test]
async fn a_lost_answer_is_looked_into_and_the_name_is_set() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    for name in [NAME, ""] {
        budi.inject(FaultKind::AnswerLost, 1).await;
        named(&budi, &machine.id, &machine.ipv4_address, name).await;
        assert_eq!(names(&budi, &machine.id).await, [name, ""]);
        let had = at_the_simulator(&world).await.0.unwrap_or_default();
        assert_eq!(had, name);
    }
}

/// A shop of a vendor, and somebody with a machine of it.
async fn bought(world: &World, dialect: Dialect) -> (Shop, Actor, Instance) {
    let shop = open_shop(world, dialect).await;
    let budi = rich_reseller(world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    let machine = budi.instance(&placed.order.instance_id).await;
    (shop, budi, machine)
}

/// What the vendor has for an address.
fn at(shop: &Shop, address: &str) -> Option<String> {
    let books = shop.cloud.books();
    let vm = books.machines.values().next().unwrap();
    vm.names.get(&address.parse().unwrap()).cloned()
}

/// Names at a vendor: given, put back, and given once though answers are lost, late or nonsense.
async fn a_life_of_names(dialect: Dialect) {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, dialect).await;
    assert!(machine.capabilities.contains(&"reverse_dns".to_owned()));
    let (v4, v6) = (&machine.ipv4_address, &machine.ipv6_address);
    let lead = |name: &str, address: &str| {
        let mut books = shop.cloud.books();
        books
            .forward
            .insert(name.to_owned(), address.parse().unwrap());
    };
    for address in [v4, v6] {
        lead(NAME, address);
        named(&budi, &machine.id, address, NAME).await;
        assert_eq!(at(&shop, address).as_deref(), Some(NAME));
    }
    assert_eq!(names(&budi, &machine.id).await, [NAME, NAME]);
    for address in [v4, v6] {
        named(&budi, &machine.id, address, "").await;
        assert_eq!(at(&shop, address), None);
        // There is nothing to put back, which is what was wanted.
        named(&budi, &machine.id, address, "").await;
    }
    assert_eq!(names(&budi, &machine.id).await, ["", ""]);

    let label = format!("sewa-{}", machine.id);
    for (n, fault) in Fault::ALL.into_iter().enumerate() {
        if fault == Fault::Vanish {
            continue;
        }
        let name = format!("n{n}.example.com");
        lead(&name, v4);
        shop.cloud.books().arm(&label, Done::SetReverseDns, fault);
        named(&budi, &machine.id, v4, &name).await;
        assert_eq!(at(&shop, v4), Some(name.clone()), "{fault:?}");
        assert_eq!(names(&budi, &machine.id).await, [name.as_str(), ""]);
    }
    {
        let books = shop.cloud.books();
        assert_eq!(books.armed(), 0, "every fault met its call");
        assert!(books.invalid.is_empty(), "{:?}", books.invalid);
    }
    // A machine that is gone has no address to name.
    lead(NAME, v4);
    shop.cloud
        .books()
        .arm(&label, Done::SetReverseDns, Fault::Vanish);
    let asked = set(&budi, &machine.id, v4, NAME).await.unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("INSTANCE_NOT_FOUND"), "{error:?}");
    assert_eq!(budi.instance(&machine.id).await.state(), State::Lost);
}

#[tokio::test]
async fn a_life_of_names_at_linode() {
    a_life_of_names(Dialect::Linode).await;
}

#[tokio::test]
async fn a_life_of_names_at_vultr() {
    a_life_of_names(Dialect::Vultr).await;
}

#[tokio::test]
async fn linode_refuses_a_name_that_leads_elsewhere_and_says_why() {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, Dialect::Linode).await;
    // The name itself has words in it that mean something else in other refusals.
    let name = "busy.limit.example.com";
    let v4 = machine.ipv4_address.as_str();
    let asked = set(&budi, &machine.id, v4, name).await.unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("REVERSE_DNS_REFUSED"), "{error:?}");
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    let words = format!(
        "the provider refuses the name: No match was found for {name}. Reverse DNS must have a matching forward entry."
    );
    assert_eq!(error.message(), words);
    assert_eq!(at(&shop, v4), None);
    assert_eq!(names(&budi, &machine.id).await, ["", ""]);
    shop.cloud
        .books()
        .forward
        .insert(name.to_owned(), v4.parse().unwrap());
    named(&budi, &machine.id, v4, name).await;
    assert_eq!(at(&shop, v4).as_deref(), Some(name));
}

/// What is said where there is no reverse DNS.
async fn none_is_offered(dialect: Dialect) {
    let world = World::new().await;
    let (shop, budi, machine) = bought(&world, dialect).await;
    assert!(!machine.capabilities.iter().any(|c| c == "reverse_dns"));
    let refusals = [
        refused(set(&budi, &machine.id, &machine.ipv4_address, NAME).await),
        refused(get(&budi, &machine.id).await),
    ];
    for error in refusals {
        assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
        assert_eq!(error.metadata("capability"), Some("reverse_dns"));
    }
    assert!(shop.cloud.books().invalid.is_empty());
}

#[tokio::test]
async fn digitalocean_calls_an_address_what_it_calls_the_droplet() {
    none_is_offered(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn proxmox_has_no_dns_of_its_own() {
    none_is_offered(Dialect::Proxmox).await;
}

#[tokio::test]
async fn vsphere_has_no_dns_of_its_own() {
    none_is_offered(Dialect::Vsphere).await;
}
