//! Hypervisors of our own: where machines are put, and that no address is given out twice. [V5 V6]

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use sewa_sdk::sewa::hypervisor::v1::pool_address::State as AddressState;
use sewa_sdk::sewa::hypervisor::v1::{
    AddressPool, AddressRange, CreateAddressPoolRequest, EndNodeMaintenanceRequest,
    FreeAddressRequest, ListAddressPoolsRequest, ListNodesRequest, ListPoolAddressesRequest,
    ListTemplatesRequest, Node, PoolAddress, ReserveAddressRequest, StartNodeMaintenanceRequest,
    UpdateAddressPoolRequest,
};
use sewa_sdk::sewa::provider::v1::CreateProviderAccountRequest;
use sewa_tests::compute::{ComputeSimulator, Dialect, Fault};
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of, refused};

use crate::instance::{Verb, ask};
use crate::plan_change::change;
use crate::providers::{
    FASTER, LARGER, Shop, TOKEN, add_pool, connect, connection, draft, open_shop, rich_reseller,
};

async fn pools(sysadmin: &Actor) -> Vec<AddressPool> {
    let request = ListAddressPoolsRequest::default();
    let reply = sysadmin.hypervisors().list_address_pools(request).await;
    reply.unwrap().into_inner().address_pools
}

pub(crate) async fn addresses(sysadmin: &Actor, pool: &str) -> Vec<PoolAddress> {
    let request = ListPoolAddressesRequest {
        address_pool_id: pool.to_owned(),
        ..Default::default()
    };
    let reply = sysadmin.hypervisors().list_pool_addresses(request).await;
    reply.unwrap().into_inner().addresses
}

async fn update(sysadmin: &Actor, pool: AddressPool, fields: &[&str]) -> AddressPool {
    let request = UpdateAddressPoolRequest {
        address_pool: Some(pool),
        update_mask: Some(prost_types::FieldMask {
            paths: fields.iter().map(|f| (*f).to_owned()).collect(),
        }),
    };
    let reply = sysadmin.hypervisors().update_address_pool(request).await;
    reply.unwrap().into_inner().address_pool.unwrap()
}

pub(crate) async fn nodes(shop: &Shop) -> BTreeMap<String, Node> {
    let request = ListNodesRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let reply = shop.sysadmin.hypervisors().list_nodes(request).await;
    let nodes = reply.unwrap().into_inner().nodes;
    nodes.into_iter().map(|n| (n.name.clone(), n)).collect()
}

/// Orders machines, all at once, and returns their addresses; those that could not be had are left out.
pub(crate) async fn buy(owner: &Actor, count: usize) -> Vec<(String, String)> {
    let bought = futures_util::stream::iter(0..count)
        .map(|_| async {
            let placed = owner.place(draft("web-1")).await.unwrap();
            let id = placed.order.instance_id.clone();
            let made = owner.finish(&placed.operation).await.is_ok();
            (made, id)
        })
        .buffer_unordered(count)
        .collect::<Vec<_>>()
        .await;
    let mut machines = Vec::new();
    for (_, id) in bought.into_iter().filter(|(made, _)| *made) {
        let address = owner.instance(&id).await.ipv4_address;
        machines.push((id, address));
    }
    machines
}

#[tokio::test]
async fn no_address_is_given_out_twice_and_each_rests_before_the_next_machine() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Proxmox).await;
    let budi = rich_reseller(&world).await;
    // Five addresses for machines, one of them reserved: four, and twelve who want one.
    let [wide] = pools(&shop.sysadmin).await.try_into().unwrap();
    let closed = AddressPool {
        enabled: false,
        ..wide
    };
    update(&shop.sysadmin, closed.clone(), &["enabled"]).await;
    let pool = add_pool(
        &shop.sysadmin,
        &shop.account.id,
        "203.0.113.0/29",
        "203.0.113.1",
    )
    .await;
    let reserve = ReserveAddressRequest {
        address_pool_id: pool.id.clone(),
        address: "203.0.113.3".to_owned(),
        note: "the office".to_owned(),
    };
    let mut hypervisors = shop.sysadmin.hypervisors();
    hypervisors.reserve_address(reserve).await.unwrap();
    let machines = buy(&budi, 12).await;
    let had: BTreeSet<&str> = machines.iter().map(|(_, a)| a.as_str()).collect();
    let all = ["203.0.113.2", "203.0.113.4", "203.0.113.5", "203.0.113.6"];
    assert_eq!(had, all.into(), "each once");
    assert_eq!(machines.len(), 4);
    {
        let books = shop.cloud.books();
        assert_eq!(books.created.len(), 4, "nobody without an address was made");
        let told: BTreeSet<String> = books
            .machines
            .values()
            .filter_map(|vm| vm.address())
            .map(|a| a.to_string())
            .collect();
        assert_eq!(told, all.map(str::to_owned).into());
        assert!(books.invalid.is_empty(), "{:?}", books.invalid);
    }
    let held = addresses(&shop.sysadmin, &pool.id).await;
    assert_eq!(held.len(), 5);
    assert_eq!(held[1].state(), AddressState::Reserved);
    assert_eq!(held[1].note, "the office");

    // One ends. Its address rests, then another machine has it.
    let (gone, address) = machines[0].clone();
    let deleted = ask(&budi, Verb::Delete, &gone, "").await.unwrap();
    budi.finish(&deleted).await.unwrap();
    let of =
        |list: Vec<PoolAddress>, address: &str| list.into_iter().find(|a| a.address == address);
    let resting = of(addresses(&shop.sysadmin, &pool.id).await, &address).unwrap();
    assert_eq!(resting.state(), AddressState::Quarantined);
    assert_eq!(resting.instance_id, gone);
    assert!(resting.free_time.is_some());
    assert!(buy(&budi, 1).await.is_empty(), "it is nobody's yet");
    let free = FreeAddressRequest {
        address_pool_id: pool.id.clone(),
        address: address.clone(),
    };
    hypervisors.free_address(free).await.unwrap();
    assert_eq!(buy(&budi, 1).await[0].1, address);

    let open = AddressPool {
        enabled: true,
        ..closed
    };
    update(&shop.sysadmin, open, &["enabled"]).await;
    one_without_room_is_left(&shop, &budi).await;
    world.prove();
}

/// A cluster whose task says that there is no room is left for another one, and the address it was to have is nobody's. A machine that is to grow needs room as well.
async fn one_without_room_is_left(shop: &Shop, budi: &Actor) {
    let other = ComputeSimulator::start(Dialect::Proxmox, TOKEN).await;
    // The other one has no machines, so it is asked first.
    let account = connect(&shop.sysadmin, &other, "other", 1).await;
    let pool = add_pool(&shop.sysadmin, &account.id, "192.0.2.0/29", "192.0.2.1").await;
    other.books().proxmox.full_late = true;
    other.books().arm_creation(Fault::Full);
    let machines = buy(budi, 1).await;
    assert!(machines[0].1.starts_with("45.0."), "{machines:?}");
    assert_eq!(other.books().armed(), 0, "it was asked");
    assert!(other.books().created.is_empty());
    assert!(addresses(&shop.sysadmin, &pool.id).await.is_empty());

    let (id, address) = buy(budi, 1).await.remove(0);
    assert!(address.starts_with("192.0.2."), "{address}");
    // 2918 MiB of 3072 are for guests.
    other.books().proxmox.memory = 3 << 30;
    let up = change(budi, &id, LARGER).await.unwrap();
    let error = refused(budi.finish(&up.operation.unwrap()).await);
    assert!(error.is("OUT_OF_CAPACITY"), "{error:?}");
    let up = change(budi, &id, FASTER).await.unwrap();
    budi.finish(&up.operation.unwrap()).await.unwrap();
    let shown = Shop {
        account,
        cloud: other,
        sysadmin: shop.sysadmin.clone(),
    };
    let given: i64 = nodes(&shown)
        .await
        .values()
        .map(|n| n.committed_memory_mib)
        .sum();
    assert_eq!(given, 2048, "what it has, and no more");
}

#[tokio::test]
async fn staff_keep_pools_nodes_and_templates() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Proxmox).await;
    let budi = rich_reseller(&world).await;
    let mut hypervisors = shop.sysadmin.hypervisors();
    let request = |cidr: &str, gateway: &str| CreateAddressPoolRequest {
        provider_account_id: shop.account.id.clone(),
        display_name: "other".to_owned(),
        cidr: cidr.to_owned(),
        gateway: gateway.to_owned(),
        bridge: "vmbr1".to_owned(),
        reserved_ranges: vec![AddressRange {
            first: "198.51.100.2".to_owned(),
            last: "198.51.100.99".to_owned(),
        }],
        ..Default::default()
    };
    let overlap = CreateAddressPoolRequest {
        reserved_ranges: Vec::new(),
        ..request("45.0.1.0/24", "45.0.1.1")
    };
    let overlap = hypervisors.create_address_pool(overlap).await;
    assert_eq!(reason_of(overlap), "ADDRESS_POOLS_OVERLAP");
    let nowhere = CreateAddressPoolRequest {
        provider_account_id: NOBODYS_ID.to_owned(),
        ..request("198.51.100.0/24", "198.51.100.1")
    };
    let nowhere = hypervisors.create_address_pool(nowhere).await;
    assert_eq!(reason_of(nowhere), "PROVIDER_ACCOUNT_NOT_FOUND");
    for (cidr, gateway) in [
        ("198.51.100.1/24", "198.51.100.1"),
        ("198.51.100.0/31", "198.51.100.1"),
        ("198.51.100.0/24", "198.51.101.1"),
        ("198.51.100.0/24", "198.51.100.255"),
        ("198.51.100.0/26", "198.51.100.1"),
    ] {
        let wrong = hypervisors
            .create_address_pool(request(cidr, gateway))
            .await;
        assert_eq!(reason_of(wrong), "INVALID_REQUEST", "{cidr} {gateway}");
    }
    let made = hypervisors
        .create_address_pool(request("198.51.100.0/24", "198.51.100.1"))
        .await;
    let pool = made.unwrap().into_inner().address_pool.unwrap();
    assert_eq!((pool.addresses, pool.held), (155, 0));
    let new = AddressPool {
        id: pool.id.clone(),
        display_name: "renamed".to_owned(),
        cidr: "10.0.0.0/8".to_owned(),
        ..Default::default()
    };
    let changed = update(
        &shop.sysadmin,
        new.clone(),
        &["display_name", "reserved_ranges"],
    )
    .await;
    assert_eq!(
        (changed.display_name.as_str(), changed.addresses),
        ("renamed", 253)
    );
    let with = |pool: AddressPool, field: &str| UpdateAddressPoolRequest {
        address_pool: Some(pool),
        update_mask: Some(prost_types::FieldMask {
            paths: vec![field.to_owned()],
        }),
    };
    let fixed = hypervisors.update_address_pool(with(new, "cidr")).await;
    assert_eq!(reason_of(fixed), "FIELD_NOT_WRITABLE");
    let nobodys = AddressPool {
        id: NOBODYS_ID.to_owned(),
        ..Default::default()
    };
    let missing = hypervisors
        .update_address_pool(with(nobodys, "enabled"))
        .await;
    assert_eq!(reason_of(missing), "ADDRESS_POOL_NOT_FOUND");
    let missing = ListPoolAddressesRequest {
        address_pool_id: NOBODYS_ID.to_owned(),
        ..Default::default()
    };
    let missing = hypervisors.list_pool_addresses(missing).await;
    assert_eq!(reason_of(missing), "ADDRESS_POOL_NOT_FOUND");

    // Machines of one owner go to different nodes; none to one in maintenance.
    let two = buy(&budi, 2).await;
    assert_eq!(two.len(), 2);
    let seen = nodes(&shop).await;
    let guests: Vec<i32> = seen.values().map(|n| n.guests).collect();
    assert_eq!(guests, [1, 1]);
    let node = &seen["pve1"];
    assert!(node.online && !node.maintenance && node.cpu_percent == 13);
    assert_eq!((node.committed_memory_mib, node.committed_vcpus), (1024, 1));
    assert_eq!(node.storages[0].name, "local-zfs");
    let start = |account: &str, node: &str| StartNodeMaintenanceRequest {
        provider_account_id: account.to_owned(),
        node: node.to_owned(),
    };
    let end = |account: &str, node: &str| EndNodeMaintenanceRequest {
        provider_account_id: account.to_owned(),
        node: node.to_owned(),
    };
    let own = shop.account.id.as_str();
    let started = hypervisors.start_node_maintenance(start(own, "pve1")).await;
    assert!(started.unwrap().into_inner().node.unwrap().maintenance);
    assert_eq!(buy(&budi, 2).await.len(), 2);
    let guests: Vec<i32> = nodes(&shop).await.values().map(|n| n.guests).collect();
    assert_eq!(guests, [1, 3]);
    let ended = hypervisors.end_node_maintenance(end(own, "pve1")).await;
    assert!(!ended.unwrap().into_inner().node.unwrap().maintenance);
    let started = hypervisors.start_node_maintenance(start(own, "pve9")).await;
    assert_eq!(reason_of(started), "NODE_NOT_FOUND");
    let ended = hypervisors.end_node_maintenance(end(own, "pve9")).await;
    assert_eq!(reason_of(ended), "NODE_NOT_FOUND");
    let started = hypervisors
        .start_node_maintenance(start(NOBODYS_ID, "pve1"))
        .await;
    assert_eq!(reason_of(started), "PROVIDER_ACCOUNT_NOT_FOUND");
    let ended = hypervisors
        .end_node_maintenance(end(NOBODYS_ID, "pve1"))
        .await;
    assert_eq!(reason_of(ended), "PROVIDER_ACCOUNT_NOT_FOUND");

    let templates = |account: &str| ListTemplatesRequest {
        provider_account_id: account.to_owned(),
    };
    let listed = hypervisors.list_templates(templates(own)).await.unwrap();
    let listed = listed.into_inner().templates;
    let found: Vec<_> = listed.iter().map(|t| (t.vmid, t.node.as_str())).collect();
    assert_eq!(found, [(9000, "pve1"), (9001, "pve2")]);
    assert!(
        listed
            .iter()
            .all(|t| t.image_ids.len() == 1 && t.disk_gib == 3)
    );
    let missing = hypervisors.list_templates(templates(NOBODYS_ID)).await;
    assert_eq!(reason_of(missing), "PROVIDER_ACCOUNT_NOT_FOUND");
    let missing = ListNodesRequest {
        provider_account_id: NOBODYS_ID.to_owned(),
    };
    let missing = hypervisors.list_nodes(missing).await;
    assert_eq!(reason_of(missing), "PROVIDER_ACCOUNT_NOT_FOUND");

    // What a machine has is not given away, nor reserved.
    let (id, address) = &two[0];
    let [wide] = pools(&shop.sysadmin)
        .await
        .into_iter()
        .filter(|p| p.held == 4)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let reserve = |pool: &str, address: &str| ReserveAddressRequest {
        address_pool_id: pool.to_owned(),
        address: address.to_owned(),
        ..Default::default()
    };
    let free = |pool: &str, address: &str| FreeAddressRequest {
        address_pool_id: pool.to_owned(),
        address: address.to_owned(),
    };
    let held = refused(
        hypervisors
            .reserve_address(reserve(&wide.id, address))
            .await,
    );
    assert!(
        held.is("ADDRESS_HELD") && held.metadata("instance_id") == Some(id.as_str()),
        "{held:?}"
    );
    let held = hypervisors.free_address(free(&wide.id, address)).await;
    assert_eq!(reason_of(held), "ADDRESS_HELD");
    let missing = hypervisors
        .reserve_address(reserve(NOBODYS_ID, address))
        .await;
    assert_eq!(reason_of(missing), "ADDRESS_POOL_NOT_FOUND");
    let missing = hypervisors.free_address(free(NOBODYS_ID, address)).await;
    assert_eq!(reason_of(missing), "ADDRESS_POOL_NOT_FOUND");
    let outside = hypervisors.free_address(free(&wide.id, "192.0.2.1")).await;
    assert_eq!(reason_of(outside), "INVALID_REQUEST");

    // A cluster that does not take the token any more.
    shop.cloud.books().token = "another".to_owned();
    let silent = hypervisors
        .list_nodes(ListNodesRequest {
            provider_account_id: own.to_owned(),
        })
        .await;
    assert_eq!(reason_of(silent), "PROVIDER_DOES_NOT_ANSWER");
    let silent = hypervisors.list_templates(templates(own)).await;
    assert_eq!(reason_of(silent), "PROVIDER_DOES_NOT_ANSWER");
    let silent = hypervisors.start_node_maintenance(start(own, "pve1")).await;
    assert_eq!(reason_of(silent), "PROVIDER_DOES_NOT_ANSWER");
    let silent = hypervisors.end_node_maintenance(end(own, "pve1")).await;
    assert_eq!(reason_of(silent), "PROVIDER_DOES_NOT_ANSWER");
    for wrong in [
        CreateProviderAccountRequest {
            base_url: String::new(),
            ..connection(&shop.cloud, "nowhere", 1)
        },
        CreateProviderAccountRequest {
            certificate_fingerprint: "12:34".to_owned(),
            ..connection(&shop.cloud, "nobody", 1)
        },
        CreateProviderAccountRequest {
            certificate_authorities: "nonsense".to_owned(),
            ..connection(&shop.cloud, "anybody", 1)
        },
    ] {
        let wrong = shop
            .sysadmin
            .providers()
            .create_provider_account(wrong)
            .await;
        assert_eq!(reason_of(wrong), "INVALID_REQUEST");
    }
}
