//! What can be done with a machine, and what cannot. [V1 V2 V5]

use sewa_sdk::Error;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::{Kind, State as Progress};
use sewa_sdk::sewa::catalog::v1::ListImagesRequest;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{
    DeleteInstanceRequest, GetInstanceRequest, Instance, ListInstancesRequest,
    PowerOffInstanceRequest, PowerOnInstanceRequest, RebootInstanceRequest, RebuildInstanceRequest,
    ResetInstancePasswordRequest, ShutdownInstanceRequest, UpdateInstanceRequest,
};
use sewa_sdk::sewa::operation::v1::{GetOperationRequest, ListOperationsRequest};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};

/// What an owner can ask of a machine that answers with an operation alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verb {
    PowerOn,
    PowerOff,
    Shutdown,
    Reboot,
    Rebuild,
    ResetPassword,
    Delete,
}

pub(crate) const VERBS: [Verb; 7] = [
    Verb::PowerOn,
    Verb::PowerOff,
    Verb::Shutdown,
    Verb::Reboot,
    Verb::Rebuild,
    Verb::ResetPassword,
    Verb::Delete,
];

/// Asks for it. `etag` empty to act whatever the machine is.
pub(crate) async fn ask(
    owner: &Actor,
    verb: Verb,
    instance_id: &str,
    etag: &str,
) -> Result<Operation, Error> {
    let (instance_id, etag) = (instance_id.to_owned(), etag.to_owned());
    let mut instances = owner.instances();
    let operation = match verb {
        Verb::PowerOn => {
            instances
                .power_on_instance(PowerOnInstanceRequest { instance_id, etag })
                .await?
                .into_inner()
                .operation
        }
        Verb::PowerOff => {
            instances
                .power_off_instance(PowerOffInstanceRequest { instance_id, etag })
                .await?
                .into_inner()
                .operation
        }
        Verb::Shutdown => {
            instances
                .shutdown_instance(ShutdownInstanceRequest { instance_id, etag })
                .await?
                .into_inner()
                .operation
        }
        Verb::Reboot => {
            instances
                .reboot_instance(RebootInstanceRequest { instance_id, etag })
                .await?
                .into_inner()
                .operation
        }
        Verb::Rebuild => {
            let request = RebuildInstanceRequest {
                instance_id,
                etag,
                image_id: String::new(),
                ..Default::default()
            };
            instances
                .rebuild_instance(request)
                .await?
                .into_inner()
                .operation
        }
        Verb::ResetPassword => {
            instances
                .reset_instance_password(ResetInstancePasswordRequest { instance_id })
                .await?
                .into_inner()
                .operation
        }
        Verb::Delete => {
            let request = DeleteInstanceRequest {
                instance_id,
                etag,
                confirm_hostname: "web-1".to_owned(),
            };
            instances
                .delete_instance(request)
                .await?
                .into_inner()
                .operation
        }
    };
    Ok(operation.expect("an operation"))
}

pub(crate) async fn owner_of_a_machine(world: &World) -> (Actor, Instance) {
    let budi = world.reseller().await;
    budi.deposit(2_000_000).await;
    let machine = budi.running("web-1").await;
    (budi, machine)
}

pub(crate) async fn done(owner: &Actor, verb: Verb, machine: &Instance, state: State) {
    let operation = ask(owner, verb, &machine.id, "")
        .await
        .unwrap_or_else(|error| panic!("{verb:?}: {error}"));
    assert_eq!(operation.instance_id, machine.id);
    let finished = owner
        .finish(&operation)
        .await
        .unwrap_or_else(|error| panic!("{verb:?}: {error}"));
    assert_eq!(
        (finished.state(), finished.progress_percent),
        (Progress::Succeeded, 100)
    );
    let seen = owner.instance(&machine.id).await;
    assert_eq!(
        (seen.state(), seen.operation_id.as_str()),
        (state, ""),
        "after {verb:?}"
    );
}

#[tokio::test]
async fn a_machine_shows_what_was_bought_and_what_comes_next() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let plan = budi.plan().await;
    assert_eq!(
        (machine.vcpus, machine.memory_mib, machine.disk_gib),
        (plan.vcpus, plan.memory_mib, plan.disk_gib)
    );
    assert_eq!(
        (
            machine.state(),
            machine.display_name.as_str(),
            machine.account_id.as_str()
        ),
        (State::Running, "web-1", &*budi.account_id)
    );
    let order = budi.order(&machine.order_id).await;
    let quote = order.quote.unwrap();
    assert_eq!(
        (&machine.price, &machine.next_charge),
        (&quote.subtotal, &quote.total)
    );
    assert_eq!(
        (machine.next_step.as_str(), machine.next_step_time),
        ("renew", machine.paid_until)
    );
    assert!(machine.auto_renew && machine.paid_until.is_some() && !machine.etag.is_empty());
    assert!(machine.capabilities.contains(&"reset_password".to_owned()));
    let listed = budi
        .instances()
        .list_instances(ListInstancesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .instances;
    assert_eq!(listed, [machine.clone()]);
    let stopped = ListInstancesRequest {
        state: State::Stopped.into(),
        ..Default::default()
    };
    assert!(
        budi.instances()
            .list_instances(stopped)
            .await
            .unwrap()
            .into_inner()
            .instances
            .is_empty()
    );
    let support = world.staff("support").await;
    let of_budi = ListInstancesRequest {
        account_id: budi.account_id.clone(),
        ..Default::default()
    };
    assert_eq!(
        support
            .instances()
            .list_instances(of_budi)
            .await
            .unwrap()
            .into_inner()
            .instances
            .len(),
        1
    );
}

#[tokio::test]
async fn a_machine_does_everything_its_owner_asks() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    done(&budi, Verb::PowerOff, &machine, State::Stopped).await;
    done(&budi, Verb::PowerOn, &machine, State::Running).await;
    done(&budi, Verb::Shutdown, &machine, State::Stopped).await;
    done(&budi, Verb::Rebuild, &machine, State::Running).await;
    done(&budi, Verb::Reboot, &machine, State::Running).await;
    done(&budi, Verb::ResetPassword, &machine, State::Running).await;
    let now = budi.instance(&machine.id).await;
    assert_eq!(
        (now.ipv4_address, now.image_id),
        (machine.ipv4_address.clone(), machine.image_id.clone()),
        "addresses stay"
    );
    done(&budi, Verb::Delete, &machine, State::Deleted).await;
    assert!(
        budi.instances()
            .list_instances(ListInstancesRequest::default())
            .await
            .unwrap()
            .into_inner()
            .instances
            .is_empty()
    );
    let kinds: Vec<Kind> = budi
        .operations()
        .list_operations(ListOperationsRequest {
            instance_id: machine.id.clone(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .operations
        .iter()
        .map(|operation| operation.kind())
        .collect();
    let expected = [
        Kind::Delete,
        Kind::ResetPassword,
        Kind::Reboot,
        Kind::Rebuild,
        Kind::Shutdown,
        Kind::PowerOn,
        Kind::PowerOff,
        Kind::Create,
    ];
    assert_eq!(kinds, expected, "newest first");
}

#[tokio::test]
async fn a_machine_is_rebuilt_from_another_image_that_exists() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let images = budi
        .catalog()
        .list_images(ListImagesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .images;
    let other = images
        .iter()
        .find(|image| image.id != machine.image_id && image.min_disk_gib <= machine.disk_gib)
        .unwrap();
    let request = |image: &str| RebuildInstanceRequest {
        instance_id: machine.id.clone(),
        image_id: image.to_owned(),
        etag: String::new(),
        ..Default::default()
    };
    let error = refused(budi.instances().rebuild_instance(request(NOBODYS_ID)).await);
    assert!(
        error.is("IMAGE_UNAVAILABLE") && error.metadata("image_id") == Some(NOBODYS_ID),
        "{error:?}"
    );
    let operation = budi
        .instances()
        .rebuild_instance(request(&other.id))
        .await
        .unwrap()
        .into_inner()
        .operation
        .unwrap();
    budi.finish(&operation).await.unwrap();
    assert_eq!(budi.instance(&machine.id).await.image_id, other.id);
}

#[tokio::test]
async fn a_new_password_is_shown_once() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let request = || {
        keyed(
            "pw-1",
            ResetInstancePasswordRequest {
                instance_id: machine.id.clone(),
            },
        )
    };
    let first = budi
        .instances()
        .reset_instance_password(request())
        .await
        .unwrap();
    let again = budi
        .instances()
        .reset_instance_password(request())
        .await
        .unwrap();
    assert!(!is_replay(&first) && is_replay(&again));
    assert!(first.get_ref().password.len() >= 12);
    assert_eq!(again.get_ref().password, "");
    budi.finish(&first.into_inner().operation.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_verb_the_state_does_not_allow_is_refused() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let illegal = async |verb: Verb, state: &str| {
        let error = refused(ask(&budi, verb, &machine.id, "").await);
        assert!(
            error.is("ILLEGAL_STATE") && error.metadata("state") == Some(state),
            "{verb:?}: {error:?}"
        );
    };
    illegal(Verb::PowerOn, "RUNNING").await;
    done(&budi, Verb::PowerOff, &machine, State::Stopped).await;
    for verb in [
        Verb::PowerOff,
        Verb::Shutdown,
        Verb::Reboot,
        Verb::ResetPassword,
    ] {
        illegal(verb, "STOPPED").await;
    }
    done(&budi, Verb::Delete, &machine, State::Deleted).await;
    for verb in VERBS {
        illegal(verb, "DELETED").await;
    }
}

#[tokio::test]
async fn a_foreign_machine_looks_like_none() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let siti = world.reseller().await;
    let read = |id: &str| GetInstanceRequest {
        instance_id: id.to_owned(),
    };
    let foreign = refused(siti.instances().get_instance(read(&machine.id)).await);
    let missing = refused(siti.instances().get_instance(read(NOBODYS_ID)).await);
    assert!(foreign.is("INSTANCE_NOT_FOUND"));
    assert_eq!(
        (foreign.code(), foreign.message()),
        (missing.code(), missing.message())
    );
    for verb in VERBS {
        let (foreign, missing) = (
            refused(ask(&siti, verb, &machine.id, "").await),
            refused(ask(&siti, verb, NOBODYS_ID, "").await),
        );
        assert!(
            foreign.is("INSTANCE_NOT_FOUND") && missing.is("INSTANCE_NOT_FOUND"),
            "{verb:?}: {foreign:?}"
        );
        assert_eq!(
            (foreign.code(), foreign.message()),
            (missing.code(), missing.message())
        );
    }
    let update = UpdateInstanceRequest {
        instance: Some(Instance {
            id: machine.id.clone(),
            display_name: "mine".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
    };
    assert_eq!(
        reason_of(siti.instances().update_instance(update).await),
        "INSTANCE_NOT_FOUND"
    );
    let operation = GetOperationRequest {
        operation_id: budi.order(&machine.order_id).await.operation_id,
    };
    assert_eq!(
        reason_of(siti.operations().get_operation(operation).await),
        "OPERATION_NOT_FOUND"
    );
    assert_eq!(budi.instance(&machine.id).await.state(), State::Running);
}

#[tokio::test]
async fn a_machine_is_deleted_by_whoever_types_its_name() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let delete = |name: &str| DeleteInstanceRequest {
        instance_id: machine.id.clone(),
        confirm_hostname: name.to_owned(),
        etag: String::new(),
    };
    assert_eq!(
        reason_of(budi.instances().delete_instance(delete("web-2")).await),
        "CONFIRMATION_MISMATCH"
    );
    let operation = budi
        .instances()
        .delete_instance(delete("web-1"))
        .await
        .unwrap()
        .into_inner()
        .operation
        .unwrap();
    budi.finish(&operation).await.unwrap();
    let gone = budi
        .wait_instance(&machine.id, "has no next step", |instance| {
            instance.next_step.is_empty()
        })
        .await;
    assert!(
        gone.state() == State::Deleted && gone.next_charge.is_none(),
        "{gone:?}"
    );
}

#[tokio::test]
async fn a_machine_that_vanishes_is_seen_to_be_lost() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::Vanish, 1).await;
    let placed = budi.buy("web-1").await;
    let order = budi.wait_active(&placed).await;
    // Whoever works with it finds out.
    let asked = ask(&budi, Verb::Reboot, &order.instance_id, "").await;
    if let Ok(operation) = asked {
        assert_eq!(
            refused(budi.finish(&operation).await).code(),
            tonic::Code::NotFound
        );
    }
    let lost = budi
        .wait_instance(&order.instance_id, "is lost", |instance| {
            instance.state() == State::Lost
        })
        .await;
    done(&budi, Verb::Delete, &lost, State::Deleted).await;
}
