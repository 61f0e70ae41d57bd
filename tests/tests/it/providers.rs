//! Real clouds, as simulators speak for them: accounts, and machines bought at them. [V2 V5 V7 I8]

use std::collections::BTreeMap;

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::catalog::v1::GetPlanRequest;
use sewa_sdk::sewa::hypervisor::v1::{AddressPool, CreateAddressPoolRequest};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_sdk::sewa::provider::v1::{
    CreateProviderAccountRequest, GetProviderAccountRequest, ProviderAccount,
    UpdateProviderAccountRequest,
};
use sewa_sdk::sewa::wallet::v1::AdjustWalletRequest;
use sewa_tests::compute::{ComputeSimulator, Dialect, Verb as Done};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, keyed, reason_of, refused};

use crate::instance::{Verb, ask};

pub(crate) const TOKEN: &str = "planted-token-4f1d7c";

/// A cloud whose machines are for sale.
pub(crate) struct Shop {
    pub(crate) cloud: ComputeSimulator,
    pub(crate) sysadmin: Actor,
    pub(crate) account: ProviderAccount,
}

pub(crate) const PLAN: &str = "0192f0c1-0000-7000-8000-000000000901";
/// More memory and the same disk.
pub(crate) const FASTER: &str = "0192f0c1-0000-7000-8000-000000000904";
/// More of everything.
pub(crate) const LARGER: &str = "0192f0c1-0000-7000-8000-000000000905";
pub(crate) const REGION: &str = "0192f0c1-0000-7000-8000-000000000902";
pub(crate) const IMAGE: &str = "0192f0c1-0000-7000-8000-000000000903";

/// Sells three sizes of a simulated cloud's machines, in one region, with one image.
pub(crate) async fn open_shop(world: &World, dialect: Dialect) -> Shop {
    let cloud = ComputeSimulator::start(dialect, TOKEN).await;
    let (size, region, image) = dialect.catalogue();
    let [_, (faster, _), (larger, _)] = dialect.sizes();
    let catalogue = format!(
        r#"
        provider = "{}"
        [[region]]
        id = "{REGION}"
        code = "far-away"
        name = "Far away"
        country = "SG"
        available = true
        provider_region = "{region}"
        [[image]]
        id = "{IMAGE}"
        code = "far-debian"
        name = "Debian"
        kind = "os"
        distribution = "Debian"
        min_disk_gib = 7
        provider_image = "{image}"
        [[plan]]
        id = "{PLAN}"
        code = "far-1-1"
        name = "Far 1 vCPU 1 GiB"
        vcpus = 1
        memory_mib = 1024
        disk_gib = 25
        transfer_gib = 1000
        provider_size = "{size}"
        price = {{ hour = 185, day = 4500, month = 124000, year = 1240000 }}
        [[plan]]
        id = "{FASTER}"
        code = "far-1-2"
        name = "Far 1 vCPU 2 GiB"
        vcpus = 1
        memory_mib = 2048
        disk_gib = 25
        transfer_gib = 1000
        provider_size = "{faster}"
        price = {{ hour = 270, day = 6500, month = 181000, year = 1810000 }}
        [[plan]]
        id = "{LARGER}"
        code = "far-2-4"
        name = "Far 2 vCPU 4 GiB"
        vcpus = 2
        memory_mib = 4096
        disk_gib = 80
        transfer_gib = 4000
        provider_size = "{larger}"
        price = {{ hour = 737, day = 18000, month = 495000, year = 4950000 }}
        "#,
        dialect.provider()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), catalogue).unwrap();
    let path = file.path().to_string_lossy().into_owned();
    world.sewa(&["catalogue", "--file", &path], "").unwrap();
    let sysadmin = world.staff("sysadmin").await;
    // The server may have read its catalogue a moment ago.
    eventually("the plans are sold", || async {
        let request = GetPlanRequest {
            plan_id: PLAN.to_owned(),
            sandbox: false,
        };
        sysadmin.catalog().get_plan(request).await
    })
    .await;
    let account = connect(&sysadmin, &cloud, "main", 1).await;
    if dialect.is_own() {
        // 510 addresses, less the router.
        let pool = CreateAddressPoolRequest {
            // On vSphere the port group has the VLAN.
            vlan: if dialect == Dialect::Proxmox { 100 } else { 0 },
            ..pool(&account.id, "45.0.0.0/23", "45.0.0.1")
        };
        let made = sysadmin.hypervisors().create_address_pool(pool).await;
        made.unwrap();
    }
    Shop {
        cloud,
        sysadmin,
        account,
    }
}

/// Addresses for the machines of a cluster.
pub(crate) fn pool(account: &str, cidr: &str, gateway: &str) -> CreateAddressPoolRequest {
    CreateAddressPoolRequest {
        provider_account_id: account.to_owned(),
        display_name: cidr.to_owned(),
        cidr: cidr.to_owned(),
        gateway: gateway.to_owned(),
        bridge: "vmbr0".to_owned(),
        vlan: 100,
        nameservers: vec!["45.0.0.2".to_owned()],
        ..Default::default()
    }
}

/// Gives the machines of a cluster addresses.
pub(crate) async fn add_pool(
    sysadmin: &Actor,
    account: &str,
    cidr: &str,
    gateway: &str,
) -> AddressPool {
    let request = pool(account, cidr, gateway);
    let reply = sysadmin.hypervisors().create_address_pool(request).await;
    reply.unwrap().into_inner().address_pool.unwrap()
}

pub(crate) fn connection(
    cloud: &ComputeSimulator,
    name: &str,
    weight: i32,
) -> CreateProviderAccountRequest {
    CreateProviderAccountRequest {
        provider: cloud.dialect.provider().to_owned(),
        display_name: name.to_owned(),
        token: cloud.dialect.credential(TOKEN),
        base_url: cloud.url(),
        weight,
        call_limit: 64,
        ..Default::default()
    }
}

pub(crate) async fn connect(
    sysadmin: &Actor,
    cloud: &ComputeSimulator,
    name: &str,
    weight: i32,
) -> ProviderAccount {
    let reply = sysadmin
        .providers()
        .create_provider_account(connection(cloud, name, weight))
        .await;
    reply.unwrap().into_inner().provider_account.unwrap()
}

pub(crate) fn draft(hostname: &str) -> OrderDraft {
    OrderDraft {
        plan_id: PLAN.to_owned(),
        region_id: REGION.to_owned(),
        image_id: IMAGE.to_owned(),
        period: BillingPeriod::Month.into(),
        hostname: hostname.to_owned(),
        auto_renew: true,
        ..Default::default()
    }
}

/// A reseller whose account and money are real.
pub(crate) async fn rich_reseller(world: &World) -> Actor {
    let (budi, finance) = (world.real_reseller().await, world.staff("finance").await);
    let request = AdjustWalletRequest {
        account_id: budi.account_id.clone(),
        amount: Some(Money::idr(100_000_000)),
        reason: "paid at the counter".to_owned(),
    };
    finance
        .wallet()
        .adjust_wallet(keyed("opening", request))
        .await
        .unwrap();
    budi
}

pub(crate) async fn read(sysadmin: &Actor, id: &str) -> ProviderAccount {
    let request = GetProviderAccountRequest {
        provider_account_id: id.to_owned(),
    };
    let reply = sysadmin.providers().get_provider_account(request).await;
    reply.unwrap().into_inner().provider_account.unwrap()
}

async fn a_life_of_a_machine(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let plan = budi
        .catalog()
        .get_plan(GetPlanRequest {
            plan_id: PLAN.to_owned(),
            sandbox: false,
        })
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    let placed = budi.place(draft("web-1")).await.unwrap();
    let order = budi.wait_active(&placed).await;
    let machine = budi.instance(&order.instance_id).await;
    assert_eq!(machine.state(), State::Running);
    assert_eq!(machine.capabilities, plan.capabilities);
    {
        let books = shop.cloud.books();
        let vms: Vec<_> = books.machines.values().collect();
        assert_eq!(vms.len(), 1);
        assert_eq!(vms[0].label, format!("sewa-{}", machine.id));
        assert_eq!(
            vms[0].address().map(|a| a.to_string()),
            Some(machine.ipv4_address.clone())
        );
    }
    assert_eq!(read(&shop.sysadmin, &shop.account.id).await.machines, 1);
    let can = |what: &str| plan.capabilities.iter().any(|c| c == what);
    let verbs = [
        (Verb::PowerOff, State::Stopped, true, Done::PowerOff),
        (Verb::PowerOn, State::Running, true, Done::PowerOn),
        (Verb::Reboot, State::Running, true, Done::Reboot),
        (Verb::Rebuild, State::Running, can("rebuild"), Done::Rebuild),
        (
            Verb::ResetPassword,
            State::Running,
            can("reset_password"),
            Done::ResetPassword,
        ),
        (
            Verb::Shutdown,
            State::Stopped,
            can("graceful_shutdown"),
            Done::Shutdown,
        ),
    ];
    let mut expected = vec![Done::Create];
    if dialect.is_own() {
        expected.push(Done::PowerOn);
    }
    for (verb, state, can, done) in verbs {
        let answer = ask(&budi, verb, &machine.id, "").await;
        if !can {
            let error = refused(answer);
            assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{verb:?}: {error:?}");
            continue;
        }
        budi.finish(&answer.unwrap()).await.unwrap();
        assert_eq!(
            budi.instance(&machine.id).await.state(),
            state,
            "after {verb:?}"
        );
        if dialect == Dialect::Linode && verb == Verb::ResetPassword {
            expected.extend([Done::Shutdown, Done::ResetPassword, Done::PowerOn]);
        } else if dialect == Dialect::Linode && verb == Verb::PowerOff {
            expected.push(Done::Shutdown);
        } else if dialect == Dialect::Proxmox && verb == Verb::Rebuild {
            expected.extend([Done::PowerOff, Done::Rebuild, Done::PowerOn]);
        } else {
            expected.push(done);
        }
    }
    {
        let books = shop.cloud.books();
        let vm = books.machines.values().next().unwrap();
        assert_eq!(vm.history, expected, "each thing was done once");
    }
    let deleted = ask(&budi, Verb::Delete, &machine.id, "").await.unwrap();
    budi.finish(&deleted).await.unwrap();
    let books = shop.cloud.books();
    assert!(books.machines.is_empty());
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn a_life_of_a_machine_at_digitalocean() {
    a_life_of_a_machine(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn a_life_of_a_machine_at_linode() {
    a_life_of_a_machine(Dialect::Linode).await;
}

#[tokio::test]
async fn a_life_of_a_machine_at_proxmox() {
    a_life_of_a_machine(Dialect::Proxmox).await;
}

#[tokio::test]
async fn a_life_of_a_machine_at_vsphere() {
    a_life_of_a_machine(Dialect::Vsphere).await;
}

#[tokio::test]
async fn a_life_of_a_machine_at_vultr() {
    a_life_of_a_machine(Dialect::Vultr).await;
}

#[tokio::test]
async fn machines_are_spread_over_accounts_by_weight_and_headroom() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::DigitalOcean).await;
    let heavy = connect(&shop.sysadmin, &shop.cloud, "heavy", 3).await;
    let small = CreateProviderAccountRequest {
        machine_limit: 1,
        ..connection(&shop.cloud, "small", 1000)
    };
    let small = shop
        .sysadmin
        .providers()
        .create_provider_account(small)
        .await
        .unwrap();
    let small = small.into_inner().provider_account.unwrap();
    let budi = rich_reseller(&world).await;
    for n in 0..9 {
        let placed = budi.place(draft(&format!("web-{n}"))).await.unwrap();
        budi.wait_active(&placed).await;
    }
    let mut machines = BTreeMap::new();
    for account in [&shop.account, &heavy, &small] {
        let seen = read(&shop.sysadmin, &account.id).await;
        machines.insert(seen.display_name.clone(), seen.machines);
    }
    let expected = [("heavy", 6), ("main", 2), ("small", 1)];
    assert_eq!(
        machines,
        expected
            .map(|(n, c)| (n.to_owned(), c))
            .into_iter()
            .collect()
    );
}

#[tokio::test]
async fn a_full_provider_gives_the_money_back() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::DigitalOcean).await;
    let full = UpdateProviderAccountRequest {
        provider_account: Some(ProviderAccount {
            id: shop.account.id.clone(),
            machine_limit: 1,
            ..Default::default()
        }),
        update_mask: None,
    };
    let updated = shop
        .sysadmin
        .providers()
        .update_provider_account(full)
        .await;
    updated.unwrap();
    let budi = rich_reseller(&world).await;
    let first = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&first).await;
    let before = budi.balance().await;
    let second = budi.place(draft("web-2")).await.unwrap();
    let error = refused(budi.finish(&second.operation).await);
    assert!(error.is("OUT_OF_CAPACITY"), "{error:?}");
    assert_eq!(budi.balance().await, before);
    assert_eq!(shop.cloud.books().created.len(), 1);
}

#[tokio::test]
async fn play_money_buys_no_real_machine() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Vultr).await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let refusal = budi.place(draft("web-1")).await;
    assert_eq!(reason_of(refusal), "PLAN_UNAVAILABLE");
    let mixed = OrderDraft {
        plan_id: budi.plan().await.id,
        ..draft("web-1")
    };
    assert_eq!(reason_of(budi.place(mixed).await), "REGION_UNAVAILABLE");
    assert!(shop.cloud.books().created.is_empty());
}
