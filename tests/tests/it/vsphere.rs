//! vSphere, as a simulated vCenter speaks for it: sessions, certificates, and what is told of it to staff and owners. [V5 V6 V9]
//!
//! What it has in common with other clouds is tested with them: a life of a machine, every fault of every verb, and changes of plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sewa_sdk::sewa::hypervisor::v1::pool_address::State as AddressState;
use sewa_sdk::sewa::hypervisor::v1::{
    CreateAddressPoolRequest, ListAddressPoolsRequest, ListTemplatesRequest, Node,
    StartNodeMaintenanceRequest,
};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{OpenConsoleRequest, RebuildInstanceRequest};
use sewa_sdk::sewa::provider::v1::provider_account::Health;
use sewa_sdk::sewa::provider::v1::{
    CompareProviderAccountRequest, CreateProviderAccountRequest, SetProviderCredentialsRequest,
    TestProviderAccountRequest,
};
use sewa_tests::compute::{ComputeSimulator, Dialect, Verb as Done};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, reason_of, refused};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::first_boot::{PLANTED, ordered, place, show, the_machine, user_data};
use crate::hypervisors::{addresses, buy, nodes};
use crate::instance::{Verb, ask};
use crate::provider_accounts::found_nowhere;
use crate::providers::{Shop, TOKEN, connection, draft, open_shop, pool, rich_reseller};
use crate::ssh_keys::{create, public_key};

/// How an account is, when it is asked now.
async fn health(sysadmin: &Actor, id: &str) -> (Health, String) {
    let request = TestProviderAccountRequest {
        provider_account_id: id.to_owned(),
    };
    let tested = sysadmin.providers().test_provider_account(request).await;
    let account = tested.unwrap().into_inner().provider_account.unwrap();
    (account.health(), account.health_message)
}

async fn done(owner: &Actor, verb: Verb, id: &str) -> State {
    let asked = ask(owner, verb, id, "").await.unwrap();
    owner.finish(&asked).await.unwrap();
    owner.instance(id).await.state()
}

async fn templates(shop: &Shop) -> Vec<(String, String)> {
    let request = ListTemplatesRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let listed = shop.sysadmin.hypervisors().list_templates(request).await;
    let listed = listed.unwrap().into_inner().templates;
    listed.into_iter().map(|t| (t.name, t.node)).collect()
}

#[tokio::test]
async fn its_owner_gets_in_and_no_secret_is_written_down() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Vsphere).await;
    let budi = rich_reseller(&world).await;
    let key = create(&budi, "laptop", &public_key(1)).await.unwrap();
    let request = ordered(draft("web-1"), &[&key.id], &user_data());
    let placed = place(&budi, request).await.unwrap();
    budi.wait_active(&placed).await;
    let id = placed.order.instance_id.as_str();
    let vm = the_machine(&shop);
    assert_eq!(vm.keys, [public_key(1)]);
    assert!(
        vm.user_data
            .as_ref()
            .is_some_and(|data| data.contains("multipart/mixed"))
    );
    let shown = show(&budi, id, "once").await.unwrap().into_inner().password;
    assert_eq!(Some(&shown), vm.password.as_ref(), "it opens the machine");
    let machine = budi.instance(id).await;
    let can: Vec<&str> = machine.capabilities.iter().map(String::as_str).collect();
    let all = ["graceful_shutdown", "resize", "resize_down", "user_data"];
    assert_eq!(can, all, "and no more than its API gives");

    // What it does not give is refused, and vCenter hears nothing of it.
    let rebuild = RebuildInstanceRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let error = refused(budi.instances().rebuild_instance(rebuild).await);
    assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
    assert_eq!(error.metadata("capability"), Some("rebuild"));
    let console = OpenConsoleRequest {
        instance_id: id.to_owned(),
    };
    let error = refused(budi.consoles().open_console(console).await);
    assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");

    // A guest without VMware Tools is restarted by its power, and is not shut down in any other way than it was asked to be.
    shop.cloud.books().vsphere.tools = false;
    assert_eq!(done(&budi, Verb::Reboot, id).await, State::Running);
    assert_eq!(the_machine(&shop).history.last(), Some(&Done::Reboot));
    shop.cloud.books().vsphere.tools = true;
    assert_eq!(done(&budi, Verb::Shutdown, id).await, State::Stopped);

    let sessions = shop.cloud.books().vsphere.begun.clone();
    assert!(!sessions.is_empty());
    let login = STANDARD.encode(shop.cloud.dialect.credential(TOKEN));
    let mut secrets = vec![TOKEN, PLANTED, shown.as_str(), login.as_str()];
    secrets.extend(sessions.iter().map(String::as_str));
    found_nowhere(&world, &secrets).await;
    assert!(shop.cloud.books().invalid.is_empty());
}

#[tokio::test]
async fn a_session_that_ended_is_begun_again_and_a_wrong_password_is_said() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Vsphere).await;
    let budi = rich_reseller(&world).await;
    let (id, address) = buy(&budi, 1).await.remove(0);
    let begun = shop.cloud.books().vsphere.begun.len();
    for (verb, state) in [
        (Verb::PowerOff, State::Stopped),
        (Verb::PowerOn, State::Running),
    ] {
        shop.cloud.books().vsphere.end_sessions();
        assert_eq!(done(&budi, verb, &id).await, state);
    }
    {
        let books = shop.cloud.books();
        assert_eq!(
            books.vsphere.begun.len(),
            begun + 2,
            "one for each that ended"
        );
        assert_eq!(books.vsphere.sessions(), 1);
        let history = &books.machines.values().next().unwrap().history;
        let all = [Done::Create, Done::PowerOn, Done::PowerOff, Done::PowerOn];
        assert_eq!(history, &all, "a call that was refused was not made");
    }

    // Many calls at once begin one session, not many.
    shop.cloud.books().vsphere.end_sessions();
    let begun = shop.cloud.books().vsphere.begun.len();
    assert_eq!(buy(&budi, 6).await.len(), 6);
    assert_eq!(shop.cloud.books().vsphere.begun.len(), begun + 1);

    // A line that is replaced ends its session.
    let set = |token: String| SetProviderCredentialsRequest {
        provider_account_id: shop.account.id.clone(),
        token,
    };
    let mut providers = shop.sysadmin.providers();
    let same = shop.cloud.dialect.credential(TOKEN);
    let same = providers.set_provider_credentials(set(same)).await;
    same.unwrap();
    let (found, message) = health(&shop.sysadmin, &shop.account.id).await;
    assert_eq!(found, Health::Ok, "{message}");
    eventually("the former session is ended", || async {
        let open = shop.cloud.books().vsphere.sessions();
        (open == 1).then_some(()).ok_or(open)
    })
    .await;
    assert_eq!(shop.cloud.books().vsphere.begun.len(), begun + 2);

    // The password was changed in vCenter.
    shop.cloud.books().token = "another".to_owned();
    shop.cloud.books().vsphere.end_sessions();
    let (found, _) = health(&shop.sysadmin, &shop.account.id).await;
    assert_eq!(found, Health::Unauthorized);
    let asked = ask(&budi, Verb::PowerOff, &id, "").await.unwrap();
    let wrong = providers.set_provider_credentials(set("no-colon".to_owned()));
    assert_eq!(reason_of(wrong.await), "INVALID_REQUEST");
    let own = shop.cloud.dialect.credential("another");
    let right = providers.set_provider_credentials(set(own)).await;
    right.unwrap();
    budi.finish(&asked).await.unwrap();
    let machine = budi.instance(&id).await;
    assert_eq!(
        (machine.state(), machine.ipv4_address),
        (State::Stopped, address)
    );
    let (found, message) = health(&shop.sysadmin, &shop.account.id).await;
    assert_eq!(found, Health::Ok, "{message}");
}

#[tokio::test]
async fn what_the_user_may_not_see_does_not_count_as_gone() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Vsphere).await;
    let budi = rich_reseller(&world).await;
    let (id, _) = buy(&budi, 1).await.remove(0);
    shop.cloud.books().vsphere.visible = false;
    let (found, message) = health(&shop.sysadmin, &shop.account.id).await;
    assert_eq!(found, Health::Unauthorized);
    assert!(message.contains("named sewa"), "{message}");
    let compare = CompareProviderAccountRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let mut providers = shop.sysadmin.providers();
    let compared = providers.compare_provider_account(compare).await;
    assert_eq!(reason_of(compared), "PROVIDER_DOES_NOT_ANSWER");
    let asked = ask(&budi, Verb::PowerOff, &id, "").await.unwrap();
    eventually("the operation was tried", || async {
        let log = world.servers[0].log();
        log.contains(&asked.id).then_some(()).ok_or(log.len())
    })
    .await;
    assert_eq!(budi.instance(&id).await.state(), State::Running);
    shop.cloud.books().vsphere.visible = true;
    budi.finish(&asked).await.unwrap();
    assert_eq!(budi.instance(&id).await.state(), State::Stopped);
}

#[tokio::test]
async fn staff_see_hosts_and_templates_and_addresses_come_back() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Vsphere).await;
    let budi = rich_reseller(&world).await;
    let mut hypervisors = shop.sysadmin.hypervisors();
    let tagged = CreateAddressPoolRequest {
        vlan: 100,
        ..pool(&shop.account.id, "192.0.2.0/29", "192.0.2.1")
    };
    let tagged = hypervisors.create_address_pool(tagged).await;
    assert_eq!(reason_of(tagged), "INVALID_REQUEST");
    let nobody = CreateProviderAccountRequest {
        token: TOKEN.to_owned(),
        ..connection(&shop.cloud, "nobody", 1)
    };
    let mut providers = shop.sysadmin.providers();
    let nobody = providers.create_provider_account(nobody).await;
    assert_eq!(reason_of(nobody), "INVALID_REQUEST");

    // Machines of one owner go to different hosts; none to one in maintenance, nor to one that is not connected.
    let machines = buy(&budi, 2).await;
    assert_eq!(machines.len(), 2);
    let guests = |seen: &BTreeMap<String, Node>| -> Vec<(String, i32)> {
        let each = seen.iter().map(|(name, node)| (name.clone(), node.guests));
        each.collect()
    };
    let named = |counts: [i32; 2]| {
        let names = ["esx1".to_owned(), "esx2".to_owned()];
        Vec::from_iter(names.into_iter().zip(counts))
    };
    let seen = nodes(&shop).await;
    let node = &seen["esx1"];
    assert!(node.online);
    assert_eq!((node.committed_vcpus, node.committed_memory_mib), (1, 1024));
    assert_eq!(
        (node.cpus, node.memory_mib, node.free_memory_mib),
        (0, 0, 0)
    );
    assert_eq!(node.storages[0].name, "san");
    assert_eq!(guests(&seen), named([1, 1]));
    let start = StartNodeMaintenanceRequest {
        provider_account_id: shop.account.id.clone(),
        node: "esx1".to_owned(),
    };
    hypervisors.start_node_maintenance(start).await.unwrap();
    assert_eq!(buy(&budi, 2).await.len(), 2);
    assert_eq!(guests(&nodes(&shop).await), named([1, 3]));

    let on_both = ["esx1", "esx2"].map(|node| ("debian-13".to_owned(), node.to_owned()));
    assert_eq!(templates(&shop).await, on_both);
    // One that would put a machine on a network before it knows its address is none.
    shop.cloud.books().vsphere.connected_template = true;
    assert!(templates(&shop).await.is_empty());
    let before = shop.cloud.books().created.len();
    assert!(buy(&budi, 1).await.is_empty());
    assert_eq!(shop.cloud.books().created.len(), before);
    shop.cloud.books().vsphere.connected_template = false;

    // A machine that ends gives its address back, which rests.
    let (id, address) = &machines[0];
    assert_eq!(done(&budi, Verb::Delete, id).await, State::Deleted);
    assert_eq!(shop.cloud.books().machines.len(), 3);
    let listed = hypervisors.list_address_pools(ListAddressPoolsRequest::default());
    let [wide] = listed
        .await
        .unwrap()
        .into_inner()
        .address_pools
        .try_into()
        .unwrap();
    let known = addresses(&shop.sysadmin, &wide.id).await;
    let resting = known
        .iter()
        .find(|known| known.address == *address)
        .unwrap();
    assert_eq!(resting.state(), AddressState::Quarantined);
    let held = known.iter().filter(|k| k.state() == AddressState::Held);
    assert_eq!(held.count(), 3);
    assert!(shop.cloud.books().invalid.is_empty());
}

/// The cloud behind TLS, with a certificate that nobody has signed.
struct Front {
    url: String,
    fingerprint: String,
    serving: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn behind_tls(cloud: &ComputeSimulator) -> Front {
    let made = rcgen::generate_simple_self_signed(["vcenter.invalid".to_owned()]).unwrap();
    let digest = Sha256::digest(made.cert.der());
    let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api", listener.local_addr().unwrap());
    let behind = cloud.address();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not trust the certificate hangs up.
                let Ok(mut outside) = acceptor.accept(stream).await else {
                    return;
                };
                let mut inside = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    Front {
        url,
        fingerprint,
        serving,
    }
}

#[tokio::test]
async fn only_the_certificate_that_staff_named_is_taken() {
    let world = World::new().await;
    let sysadmin = world.staff("sysadmin").await;
    let cloud = ComputeSimulator::start(Dialect::Vsphere, TOKEN).await;
    let front = behind_tls(&cloud).await;
    let another = "ab".repeat(32);
    for (name, fingerprint, expected) in [
        ("nobody vouches", "", Health::Unreachable),
        ("another one", another.as_str(), Health::Unreachable),
        ("the right one", front.fingerprint.as_str(), Health::Ok),
    ] {
        let request = CreateProviderAccountRequest {
            base_url: front.url.clone(),
            certificate_fingerprint: fingerprint.to_owned(),
            ..connection(&cloud, name, 1)
        };
        let made = sysadmin.providers().create_provider_account(request).await;
        let account = made.unwrap().into_inner().provider_account.unwrap();
        let (found, message) = health(&sysadmin, &account.id).await;
        // The folder is there, so one that is reached is well.
        assert_eq!(found, expected, "{name}: {message}");
        let said = !cloud.books().vsphere.begun.is_empty();
        assert_eq!(
            said,
            expected == Health::Ok,
            "{name}: the password was said"
        );
    }
}
