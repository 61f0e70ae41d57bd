//! Where machines are put, and which addresses they get.

use super::*;
use crate::provider::compute::cluster::Entry;
use crate::provider::compute::cluster::{Storage, Template};

fn pool(cidr: &str, gateway: &str, reserved: &[(&str, &str)]) -> Pool {
    let network = Network::parse(cidr).unwrap();
    Pool {
        id: Uuid::nil(),
        provider_account: ProviderAccountId(Uuid::nil()),
        display_name: String::new(),
        region: String::new(),
        network,
        gateway: gateway.parse().unwrap(),
        bridge: "vmbr0".to_owned(),
        vlan: 0,
        nameservers: Vec::new(),
        reserved: reserved
            .iter()
            .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))
            .collect(),
        quarantine_seconds: 0,
        enabled: true,
        next: network.first_host(),
        created_at: DateTime::default(),
        updated_at: DateTime::default(),
    }
}

fn all(pool: &Pool) -> Vec<u8> {
    let mut found = Vec::new();
    let mut from = pool.next;
    while let Some(address) = first_free(pool, from) {
        found.push(address.octets()[3]);
        from = after(address);
    }
    found
}

#[test]
fn networks_read_back() {
    assert_eq!(
        Network::parse("203.0.113.0/24").unwrap().to_string(),
        "203.0.113.0/24"
    );
    for wrong in [
        "203.0.113.1/24",
        "10.0.0.0/7",
        "10.0.0.0/31",
        "10.0.0.0",
        "::/64",
        "10.0.0.0/33",
    ] {
        assert_eq!(Network::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_pool_gives_what_is_not_reserved() {
    let plain = pool("203.0.113.0/29", "203.0.113.1", &[]);
    assert_eq!(all(&plain), [2, 3, 4, 5, 6]);
    let some = pool(
        "203.0.113.0/29",
        "203.0.113.6",
        &[
            ("203.0.113.2", "203.0.113.3"),
            ("203.0.113.3", "203.0.113.4"),
        ],
    );
    assert_eq!(all(&some), [1, 5]);
    let none = pool(
        "203.0.113.0/29",
        "203.0.113.1",
        &[("203.0.113.0", "203.0.113.7")],
    );
    assert_eq!(all(&none), Vec::<u8>::new());
    for pool in [plain, some, none] {
        let count = all(&pool).len();
        assert_eq!(usize::try_from(size(&pool)).unwrap(), count);
        let usable = (0..8).filter(|n| is_usable(&pool, Ipv4Addr::new(203, 0, 113, *n)));
        assert_eq!(usable.count(), count);
    }
}

fn node(name: &str, memory_mib: i64) -> Node {
    Node {
        name: name.to_owned(),
        online: true,
        cpus: 4,
        memory_mib,
        storages: vec![Storage {
            name: "zfs".to_owned(),
            size_gib: 100,
            used_gib: 0,
            shared: false,
        }],
        ..Default::default()
    }
}

fn cluster() -> Cluster {
    let template = |vmid, node: &str| Template {
        name: "debian".to_owned(),
        vmid,
        node: node.to_owned(),
        storage: "zfs".to_owned(),
        disk_gib: 3,
    };
    Cluster {
        nodes: vec![node("a", 10_000), node("b", 20_000), node("c", 30_000)],
        guests: Vec::new(),
        templates: vec![
            template(9000, "a"),
            template(9001, "b"),
            template(9002, "c"),
        ],
    }
}

fn need(owner: u128) -> Need {
    Need {
        account: AccountId(Uuid::from_u128(owner)),
        instance: InstanceId(Uuid::from_u128(99)),
        provider_account: ProviderAccountId(Uuid::nil()),
        region: String::new(),
        image: "debian".to_owned(),
        vcpus: 2,
        memory_mib: 2000,
        disk_gib: 20,
    }
}

fn taken(owner: u128, node: &str, vmid: u32) -> Taken {
    Taken {
        account: AccountId(Uuid::from_u128(owner)),
        instance: InstanceId(Uuid::from_u128(u128::from(vmid))),
        node: node.to_owned(),
        vmid,
        vcpus: 2,
        memory_mib: 2000,
        disk_gib: 20,
        storage: "zfs".to_owned(),
    }
}

fn chosen(cluster: &Cluster, taken: &[Taken], maintenance: &[&str]) -> Result<String, NoRoom> {
    let maintenance = maintenance.iter().map(|n| (*n).to_owned()).collect();
    choose(cluster, taken, &maintenance, &need(1)).map(|(node, _)| node)
}

#[test]
fn the_node_with_most_room_is_chosen_but_owners_are_spread() {
    let cluster = cluster();
    assert_eq!(chosen(&cluster, &[], &[]).as_deref(), Ok("c"));
    let mine = [taken(1, "c", 1)];
    assert_eq!(chosen(&cluster, &mine, &[]).as_deref(), Ok("b"));
    let mine = [taken(1, "c", 1), taken(1, "b", 2)];
    assert_eq!(chosen(&cluster, &mine, &[]).as_deref(), Ok("a"));
    let theirs = [taken(2, "c", 1)];
    assert_eq!(chosen(&cluster, &theirs, &[]).as_deref(), Ok("c"));
    assert_eq!(chosen(&cluster, &[], &["c"]).as_deref(), Ok("b"));
    assert_eq!(
        chosen(&cluster, &[], &["a", "b", "c"]),
        Err(NoRoom::NoTemplate)
    );
}

#[test]
fn a_node_without_room_is_passed() {
    let mut small = cluster();
    small.nodes.truncate(1);
    // 9500 MiB to give, 16 vCPUs, 100 GiB.
    let four: Vec<Taken> = (1..=4).map(|n| taken(2, "a", n)).collect();
    assert_eq!(chosen(&small, &four, &[]), Err(NoRoom::Full), "memory");
    let thin: Vec<Taken> = (1..=8)
        .map(|n| Taken {
            memory_mib: 1,
            disk_gib: 1,
            ..taken(2, "a", n)
        })
        .collect();
    assert_eq!(chosen(&small, &thin[..7], &[]).as_deref(), Ok("a"));
    assert_eq!(chosen(&small, &thin, &[]), Err(NoRoom::Full), "vCPUs");
    small.nodes[0].storages[0].used_gib = 81;
    assert_eq!(chosen(&small, &[], &[]), Err(NoRoom::Full), "disk");
    small.nodes[0].online = false;
    assert_eq!(chosen(&small, &[], &[]), Err(NoRoom::NoTemplate));
}

#[test]
fn what_shows_already_is_not_counted_twice() {
    let mut seen = cluster();
    seen.guests.push(Entry {
        vmid: 1,
        node: "b".to_owned(),
        name: Some("x".to_owned()),
        machine: true,
        vcpus: 1,
        memory_mib: 500,
        ..Default::default()
    });
    // It moved from a to b since it was placed, and is as small as its template still.
    let sums = committed(&seen, &[taken(1, "a", 1), taken(1, "a", 2)]);
    assert_eq!(
        sums["b"],
        Committed {
            vcpus: 2,
            memory_mib: 2000,
            guests: 1
        }
    );
    assert_eq!(
        sums["a"],
        Committed {
            vcpus: 2,
            memory_mib: 2000,
            guests: 1
        }
    );
}

#[test]
fn numbers_are_never_used_again_and_never_taken_from_others() {
    let mut seen = cluster();
    assert_eq!(vmid(&seen, None), Some(FIRST_VMID));
    assert_eq!(vmid(&seen, Some(FIRST_VMID + 6)), Some(FIRST_VMID + 7));
    seen.guests.push(Entry {
        vmid: FIRST_VMID,
        name: Some("by hand".to_owned()),
        ..Default::default()
    });
    assert_eq!(vmid(&seen, None), Some(FIRST_VMID + 1));
    assert_eq!(vmid(&seen, Some(LAST_VMID)), None);
    let place = Taken {
        node: "a".to_owned(),
        ..taken(1, "a", FIRST_VMID)
    };
    assert!(
        !place.is_good(&seen, &need(1), &HashSet::new()),
        "somebody took the number"
    );
    let other = Taken {
        vmid: FIRST_VMID + 1,
        ..place
    };
    assert!(other.is_good(&seen, &need(1), &HashSet::new()));
    assert!(!other.is_good(&seen, &need(1), &HashSet::from(["a".to_owned()])));
}

#[test]
fn a_machine_grows_only_where_there_is_room() {
    let mut small = cluster();
    small.nodes.truncate(1);
    // 9500 MiB to give, 16 vCPUs, 100 GiB.
    let both = [taken(1, "a", 1), taken(2, "a", 2)];
    let wide = |vcpus, memory_mib, disk_gib| Taken {
        vcpus,
        memory_mib,
        disk_gib,
        ..taken(1, "a", 1)
    };
    let fits = |cluster: &Cluster, wide: &Taken| fits(cluster, &both, wide);
    assert_eq!(fits(&small, &wide(14, 7500, 80)), Some(true));
    assert_eq!(fits(&small, &wide(15, 2000, 20)), Some(false), "vCPUs");
    assert_eq!(fits(&small, &wide(2, 7501, 20)), Some(false), "memory");
    assert_eq!(fits(&small, &wide(2, 2000, 81)), Some(false), "disk");
    // Of a node that is too full already, what a machine has is not refused.
    small.nodes[0].memory_mib = 1000;
    assert_eq!(fits(&small, &wide(4, 2000, 20)), Some(true));
    small.nodes[0].online = false;
    assert_eq!(fits(&small, &wide(2, 2000, 20)), None);
}

#[test]
fn a_disk_that_is_not_full_yet_is_promised_all_the_same() {
    let mut thin = cluster();
    thin.nodes.truncate(1);
    let own = Entry {
        vmid: 1,
        node: "a".to_owned(),
        machine: true,
        ..Default::default()
    };
    thin.guests.push(own);
    thin.nodes[0].storages[0].used_gib = 1;
    let most = Taken {
        disk_gib: 80,
        memory_mib: 1,
        ..taken(2, "a", 1)
    };
    assert_eq!(
        chosen(&thin, std::slice::from_ref(&most), &[]).as_deref(),
        Ok("a")
    );
    let more = Taken {
        disk_gib: 81,
        ..most
    };
    assert_eq!(chosen(&thin, &[more], &[]), Err(NoRoom::Full));
}

#[test]
fn where_memory_is_not_told_the_node_that_gave_least_is_chosen() {
    let mut hosts = cluster();
    for node in &mut hosts.nodes {
        *node = Node {
            unmeasured: true,
            cpus: 0,
            memory_mib: 0,
            ..node.clone()
        };
    }
    let guest = |node: &str, name: String, memory_mib| Entry {
        node: node.to_owned(),
        name: Some(name),
        machine: true,
        vcpus: 64,
        memory_mib,
        ..Default::default()
    };
    hosts.guests = vec![
        guest("a", "by hand".to_owned(), 9000),
        guest("b", "by hand too".to_owned(), 1000),
        guest("c", "a third".to_owned(), 5000),
    ];
    assert_eq!(chosen(&hosts, &[], &[]).as_deref(), Ok("b"));
    // Guests without numbers are known by the instance in their name, wherever they have moved.
    let placed = taken(2, "a", 7);
    let name = crate::provider::compute::cloud::name_of(placed.instance);
    hosts.guests.push(guest("b", name, 2000));
    let sums = committed(&hosts, std::slice::from_ref(&placed));
    assert_eq!((sums["a"].guests, sums["b"].guests), (1, 2));
    assert_eq!(chosen(&hosts, &[placed], &[]).as_deref(), Ok("b"));
    hosts.nodes[1].storages[0].used_gib = 81;
    assert_eq!(chosen(&hosts, &[], &[]).as_deref(), Ok("c"), "disks count");
}
