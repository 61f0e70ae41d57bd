//! What a machine is given at its first boot, and that its owner gets to know the password: once, and nobody else ever. [V9 R44]

use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::instance::v1::{
    RebuildInstanceRequest, ResetInstancePasswordRequest, ShowFirstPasswordRequest,
    ShowFirstPasswordResponse,
};
use sewa_sdk::sewa::order::v1::order::State as OrderState;
use sewa_sdk::sewa::order::v1::{
    CancelOrderRequest, OrderDraft, Payment, PlaceOrderRequest, RejectOrderPaymentRequest,
};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::actor::Placed;
use sewa_tests::compute::machines::Vm;
use sewa_tests::compute::{Dialect, Fault, Verb as Done, guest};
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};
use sqlx::Row;

use crate::instance::{Verb, ask};
use crate::provider_accounts::found_nowhere;
use crate::providers::{Shop, TOKEN, draft, open_shop, rich_reseller};
use crate::ssh_keys::{create, public_key};

pub(crate) const PLANTED: &str = "planted-user-data-77c0de";

pub(crate) fn user_data() -> String {
    format!("#cloud-config\nwrite_files:\n  - path: /etc/secret\n    content: {PLANTED}\n")
}

pub(crate) fn ordered(draft: OrderDraft, keys: &[&str], user_data: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        draft: Some(draft),
        payment: Payment::Wallet.into(),
        ssh_key_ids: keys.iter().map(|id| (*id).to_owned()).collect(),
        user_data: user_data.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn place(
    owner: &Actor,
    request: PlaceOrderRequest,
) -> Result<Placed, sewa_sdk::Error> {
    let reply = owner.orders().place_order(request).await?.into_inner();
    Ok(Placed {
        order: reply.order.expect("an order"),
        operation: reply.operation.expect("an operation"),
    })
}

pub(crate) async fn show(
    owner: &Actor,
    instance_id: &str,
    key: &str,
) -> Result<tonic::Response<ShowFirstPasswordResponse>, sewa_sdk::Error> {
    let request = ShowFirstPasswordRequest {
        instance_id: instance_id.to_owned(),
    };
    let mut instances = owner.instances();
    Ok(instances.show_first_password(keyed(key, request)).await?)
}

async fn rebuild(
    owner: &Actor,
    instance_id: &str,
    keys: &[&str],
    user_data: &str,
) -> Result<Operation, sewa_sdk::Error> {
    let request = RebuildInstanceRequest {
        instance_id: instance_id.to_owned(),
        ssh_key_ids: keys.iter().map(|id| (*id).to_owned()).collect(),
        user_data: user_data.to_owned(),
        ..Default::default()
    };
    let reply = owner.instances().rebuild_instance(request).await?;
    Ok(reply.into_inner().operation.expect("an operation"))
}

pub(crate) fn the_machine(shop: &Shop) -> Vm {
    let books = shop.cloud.books();
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
    assert_eq!(books.machines.len(), 1);
    books.machines.values().next().unwrap().clone()
}

fn documents(vm: &Vm) -> Vec<String> {
    guest::boot(vm.user_data.as_deref().unwrap_or_default()).documents
}

async fn its_owner_gets_in(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let key = create(&budi, "laptop", &public_key(1)).await.unwrap();
    let request = ordered(draft("web-1"), &[&key.id], &user_data());
    let placed = place(&budi, request).await.unwrap();
    budi.wait_active(&placed).await;
    let id = placed.order.instance_id.as_str();
    let vm = the_machine(&shop);
    assert_eq!(vm.keys, [public_key(1)]);
    assert_eq!(documents(&vm), [user_data()]);
    assert!(budi.instance(id).await.first_password_expire_time.is_some());

    let shown = show(&budi, id, "once").await.unwrap();
    let first = shown.get_ref().password.clone();
    assert_eq!(Some(&first), vm.password.as_ref(), "it opens the machine");
    let again = show(&budi, id, "once").await.unwrap();
    assert!(is_replay(&again) && again.get_ref().password.is_empty());
    let gone = show(&budi, id, "twice").await;
    assert_eq!(reason_of(gone), "FIRST_PASSWORD_GONE");
    let machine = budi.instance(id).await;
    assert!(machine.first_password_expire_time.is_none());

    let mut secrets = vec![first.clone()];
    if machine
        .capabilities
        .iter()
        .any(|c| c == "rebuild_credentials")
    {
        // Another set of everything; what is not named is gone.
        let script = format!("#!/bin/sh\necho {PLANTED}-2\n");
        let asked = rebuild(&budi, id, &[], &script).await.unwrap();
        budi.finish(&asked).await.unwrap();
        let vm = the_machine(&shop);
        assert!(vm.keys.is_empty(), "{:?}", vm.keys);
        assert_eq!(documents(&vm), [script]);
        let second = show(&budi, id, "second").await.unwrap();
        let second = second.into_inner().password;
        assert_eq!(Some(&second), vm.password.as_ref());
        assert_ne!(second, first);
        secrets.push(second);
    } else {
        let refusal = rebuild(&budi, id, &[&key.id], "").await;
        assert_eq!(reason_of(refusal), "NOT_SUPPORTED_BY_PROVIDER");
        let asked = rebuild(&budi, id, &[], "").await.unwrap();
        budi.finish(&asked).await.unwrap();
        let again = the_machine(&shop);
        assert_eq!((again.password, again.keys), (vm.password, vm.keys));
        let gone = show(&budi, id, "second").await;
        assert_eq!(reason_of(gone), "FIRST_PASSWORD_GONE");
    }
    let mut database = world.behind_the_scenes().await;
    let left: i64 = sqlx::query("select count(*) from first_boots")
        .fetch_one(&mut database)
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0, "the machine has it");
    let mut planted = vec![TOKEN, PLANTED];
    planted.extend(secrets.iter().map(String::as_str));
    found_nowhere(&world, &planted).await;
}

#[tokio::test]
async fn the_owner_of_a_machine_at_digitalocean_gets_in() {
    its_owner_gets_in(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn the_owner_of_a_machine_at_linode_gets_in() {
    its_owner_gets_in(Dialect::Linode).await;
}

#[tokio::test]
async fn the_owner_of_a_machine_at_proxmox_gets_in() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Proxmox).await;
    let budi = rich_reseller(&world).await;
    let key = create(&budi, "laptop", &public_key(1)).await.unwrap();
    // Its API takes no user data, and that is said before anything is paid.
    let more = ordered(draft("web-1"), &[&key.id], &user_data());
    assert_eq!(reason_of(place(&budi, more).await), "INVALID_REQUEST");
    let request = ordered(draft("web-1"), &[&key.id], "");
    let placed = place(&budi, request).await.unwrap();
    budi.wait_active(&placed).await;
    let id = placed.order.instance_id.as_str();
    let vm = the_machine(&shop);
    assert_eq!(vm.keys, [public_key(1)]);
    let first = show(&budi, id, "first").await.unwrap();
    let first = first.into_inner().password;
    assert_eq!(Some(&first), vm.password.as_ref(), "it opens the machine");
    let more = rebuild(&budi, id, &[], "#!/bin/sh\n").await;
    assert_eq!(reason_of(more), "NOT_SUPPORTED_BY_PROVIDER");
    let asked = rebuild(&budi, id, &[], "").await.unwrap();
    budi.finish(&asked).await.unwrap();
    let vm = the_machine(&shop);
    assert!(vm.keys.is_empty(), "{:?}", vm.keys);
    assert_eq!(vm.disk, 25, "the new disk is as large as the old one");
    let second = show(&budi, id, "second").await.unwrap();
    let second = second.into_inner().password;
    assert_eq!(Some(&second), vm.password.as_ref());
    assert_ne!(second, first);
    // Without an agent in the guest, cloud-init sets a password when it starts.
    shop.cloud.books().proxmox.agent = false;
    let set = ask(&budi, Verb::ResetPassword, id, "").await.unwrap();
    budi.finish(&set).await.unwrap();
    let vm = the_machine(&shop);
    assert_eq!(vm.history.last(), Some(&Done::Reboot));
    let third = vm.password.unwrap();
    assert_ne!(third, second);
    found_nowhere(&world, &[TOKEN, &first, &second, &third]).await;
}

#[tokio::test]
async fn the_owner_of_a_machine_at_vultr_gets_in() {
    its_owner_gets_in(Dialect::Vultr).await;
}

#[tokio::test]
async fn a_password_is_known_whatever_becomes_of_the_answer() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::Vultr).await;
    let budi = rich_reseller(&world).await;
    for (number, fault) in [
        Fault::Lost,
        Fault::Nonsense,
        Fault::Twice,
        Fault::LostBefore,
    ]
    .into_iter()
    .enumerate()
    {
        shop.cloud.books().arm_creation(fault);
        let hostname = format!("web-{number}");
        let request = ordered(draft(&hostname), &[], &user_data());
        let placed = place(&budi, request).await.unwrap();
        budi.wait_active(&placed).await;
        let id = placed.order.instance_id;
        let shown = show(&budi, &id, &hostname).await.unwrap().into_inner();
        let books = shop.cloud.books();
        let label = format!("sewa-{id}");
        let vm = books.machines.values().find(|vm| vm.label == label);
        assert_eq!(
            vm.and_then(|vm| vm.password.clone()),
            Some(shown.password),
            "{fault:?}"
        );
    }
}

/// What the built-in cloud knows of its only machine: whether the password opens it, and its keys.
async fn opens(world: &World, password: &str) -> (bool, Vec<String>, bool) {
    let mut database = world.behind_the_scenes().await;
    let row = sqlx::query(
        "select password_digest = sha256(convert_to($1, 'UTF8')), ssh_keys, user_data_digest = sha256(convert_to($2, 'UTF8')) is true
        from sim_machines where gone_at is null",
    )
    .bind(password)
    .bind(user_data())
    .fetch_one(&mut database)
    .await
    .unwrap();
    (
        row.get(0),
        row.get(1),
        row.get::<Option<bool>, _>(2).unwrap_or(false),
    )
}

#[tokio::test]
async fn the_built_in_cloud_gives_what_was_ordered() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(2_000_000).await;
    let key = create(&budi, "laptop", &public_key(1)).await.unwrap();
    budi.inject(FaultKind::Slow, 1).await;
    let request = ordered(budi.draft("web-1").await, &[&key.id], &user_data());
    let placed = place(&budi, request).await.unwrap();
    let id = placed.order.instance_id.as_str();
    let nobodys = show(&budi, NOBODYS_ID, "nobody").await;
    assert_eq!(reason_of(nobodys), "INSTANCE_NOT_FOUND");
    budi.wait_active(&placed).await;
    let siti = world.reseller().await;
    let foreign = show(&siti, id, "foreign").await;
    assert_eq!(reason_of(foreign), "INSTANCE_NOT_FOUND");
    let first = show(&budi, id, "first").await.unwrap().into_inner();
    assert_eq!(
        opens(&world, &first.password).await,
        (true, vec![public_key(1)], true)
    );
    // A machine keeps a key that its owner has forgotten.
    let request = sewa_sdk::sewa::instance::v1::DeleteSshKeyRequest {
        ssh_key_id: key.id.clone(),
    };
    budi.ssh_keys().delete_ssh_key(request).await.unwrap();
    let refusal = refused(rebuild(&budi, id, &[&key.id], "").await);
    assert!(refusal.is("SSH_KEY_NOT_FOUND"), "{refusal:?}");
    assert_eq!(refusal.metadata("ssh_key_id"), Some(key.id.as_str()));
    assert_eq!(opens(&world, &first.password).await.1, [public_key(1)]);
    let asked = rebuild(&budi, id, &[], "").await.unwrap();
    budi.finish(&asked).await.unwrap();
    // Setting a password ends the one that was not shown yet.
    let request = ResetInstancePasswordRequest {
        instance_id: id.to_owned(),
    };
    let reset = budi.instances().reset_instance_password(request).await;
    let reset = reset.unwrap().into_inner();
    budi.finish(&reset.operation.unwrap()).await.unwrap();
    let gone = show(&budi, id, "second").await;
    assert_eq!(reason_of(gone), "FIRST_PASSWORD_GONE");
    assert_eq!(
        opens(&world, &reset.password).await,
        (true, Vec::new(), false)
    );
    found_nowhere(&world, &[PLANTED, &first.password, &reset.password]).await;
}

#[tokio::test]
async fn a_machine_that_is_being_made_shows_no_password() {
    let world =
        World::with(sewa_tests::Settings::default().with("SIMULATOR_BOOT_MS", 600_000)).await;
    let budi = world.reseller().await;
    budi.deposit(2_000_000).await;
    let placed = budi.buy("web-1").await;
    budi.wait_order(&placed.order.id, OrderState::Provisioning)
        .await;
    let early = show(&budi, &placed.order.instance_id, "early").await;
    assert_eq!(reason_of(early), "ILLEGAL_STATE");
    let request = CancelOrderRequest {
        order_id: placed.order.id.clone(),
        ..Default::default()
    };
    budi.orders().cancel_order(request).await.unwrap();
    let never = show(&budi, &placed.order.instance_id, "late").await;
    assert_eq!(reason_of(never), "FIRST_PASSWORD_GONE");
}

#[tokio::test]
async fn an_order_with_keys_is_placed_once_and_refused_whole() {
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    let draft = budi.draft("web-1").await;
    let hers = create(&siti, "hers", &public_key(1)).await.unwrap();
    let poor = place(&siti, ordered(draft.clone(), &[], &user_data())).await;
    assert_eq!(reason_of(poor), "INSUFFICIENT_BALANCE");
    budi.deposit(2_000_000).await;
    let before = budi.balance().await;
    for id in [hers.id.as_str(), NOBODYS_ID] {
        let refusal = refused(place(&budi, ordered(draft.clone(), &[id], "")).await);
        assert!(refusal.is("SSH_KEY_NOT_FOUND"), "{refusal:?}");
        assert_eq!(refusal.metadata("ssh_key_id"), Some(id));
    }
    assert_eq!(budi.balance().await, before, "nothing was taken");
    let request = PlaceOrderRequest {
        client_reference: "shop-1".to_owned(),
        ..ordered(draft.clone(), &[], &user_data())
    };
    let mut orders = budi.orders();
    let first = orders.place_order(keyed("k", request.clone())).await;
    let again = orders.place_order(keyed("k", request.clone())).await;
    let (first, again) = (first.unwrap(), again.unwrap());
    assert!(is_replay(&again));
    assert_eq!(first.into_inner(), again.into_inner());
    let taken = orders.place_order(keyed("other", request.clone())).await;
    assert_eq!(reason_of(taken), "CLIENT_REFERENCE_TAKEN");
    // The key covers what is secret, too.
    let changed = PlaceOrderRequest {
        user_data: "#!/bin/sh\n".to_owned(),
        ..request
    };
    let reused = orders.place_order(keyed("k", changed)).await;
    assert_eq!(reason_of(reused), "IDEMPOTENCY_KEY_REUSED");
    let malformed = place(&budi, ordered(draft, &[], "echo hello")).await;
    assert_eq!(reason_of(malformed), "INVALID_REQUEST");
}

#[tokio::test]
async fn an_order_that_is_never_paid_leaves_nothing_behind() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let request = PlaceOrderRequest {
        payment: Payment::StaffApproval.into(),
        ..ordered(budi.draft("web-1").await, &[], &user_data())
    };
    let reply = budi.orders().place_order(request).await.unwrap();
    let order = reply.into_inner().order.unwrap();
    let kept = async || {
        let mut database = world.behind_the_scenes().await;
        let row = sqlx::query("select count(*) from first_boots");
        row.fetch_one(&mut database).await.unwrap().get::<i64, _>(0)
    };
    assert_eq!(kept().await, 1);
    found_nowhere(&world, &[PLANTED]).await;
    let finance = world.staff("finance").await;
    let reject = RejectOrderPaymentRequest {
        order_id: order.id,
        reason: "no transfer arrived".to_owned(),
    };
    let mut orders = finance.orders();
    orders
        .reject_order_payment(keyed("no", reject))
        .await
        .unwrap();
    assert_eq!(kept().await, 0);
}
