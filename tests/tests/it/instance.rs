//! What can be done with a machine, and what cannot. [V1 V2 V5]

use futures_util::future::join_all;
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
use sewa_sdk::sewa::operation::v1::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, WaitOperationRequest,
};
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
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

const VERBS: [Verb; 7] = [
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

async fn owner_of_a_machine(world: &World) -> (Actor, Instance) {
    let budi = world.reseller().await;
    budi.deposit(2_000_000).await;
    let machine = budi.running("web-1").await;
    (budi, machine)
}

async fn done(owner: &Actor, verb: Verb, machine: &Instance, state: State) {
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
async fn one_operation_at_a_time() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    budi.inject(FaultKind::Error, 0).await;
    let first = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    for verb in VERBS {
        let error = refused(ask(&budi, verb, &machine.id, "").await);
        assert!(
            error.is("OPERATION_IN_PROGRESS") && error.metadata("operation_id") == Some(&*first.id),
            "{verb:?}: {error:?}"
        );
    }
    assert_eq!(budi.instance(&machine.id).await.operation_id, first.id);
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    budi.finish(&first).await.unwrap();
    // Of many at once one wins, and the others are told which.
    let answers = join_all((0..8).map(|_| ask(&budi, Verb::Reboot, &machine.id, ""))).await;
    let won: Vec<&Operation> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(error.is("OPERATION_IN_PROGRESS"), "{error:?}");
    }
    budi.finish(won[0]).await.unwrap();
}

#[tokio::test]
async fn an_operation_that_has_not_begun_can_be_called_off() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let cancel = |id: &str| CancelOperationRequest {
        operation_id: id.to_owned(),
    };
    budi.inject(FaultKind::Error, 0).await;
    let reboot = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    let cancelled = budi
        .operations()
        .cancel_operation(cancel(&reboot.id))
        .await
        .unwrap()
        .into_inner()
        .operation
        .unwrap();
    assert!(
        cancelled.state() == Progress::Cancelled && cancelled.finish_time.is_some(),
        "{cancelled:?}"
    );
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    assert_eq!(budi.instance(&machine.id).await.state(), State::Running);
    let error = refused(budi.operations().cancel_operation(cancel(&reboot.id)).await);
    assert!(
        error.is("OPERATION_NOT_CANCELLABLE") && error.metadata("state") == Some("CANCELLED"),
        "{error:?}"
    );
    for answer in [
        budi.operations()
            .cancel_operation(cancel(NOBODYS_ID))
            .await
            .map(drop),
        budi.operations()
            .get_operation(GetOperationRequest {
                operation_id: NOBODYS_ID.to_owned(),
            })
            .await
            .map(drop),
        budi.operations()
            .wait_operation(WaitOperationRequest {
                operation_id: NOBODYS_ID.to_owned(),
                timeout: None,
            })
            .await
            .map(drop),
    ] {
        assert_eq!(reason_of(answer), "OPERATION_NOT_FOUND");
    }
    // Nothing waits longer than it was told to.
    budi.inject(FaultKind::Error, 0).await;
    let stuck = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    let timeout = Some(prost_types::Duration {
        seconds: 0,
        nanos: 300_000_000,
    });
    let waited = budi
        .operations()
        .wait_operation(WaitOperationRequest {
            operation_id: stuck.id.clone(),
            timeout,
        })
        .await
        .unwrap()
        .into_inner();
    assert!(waited.operation.unwrap().finish_time.is_none());
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    budi.finish(&stuck).await.unwrap();
}

#[tokio::test]
async fn whoever_was_slower_is_told_so_by_the_etag() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let rename = |name: &str, etag: &str| UpdateInstanceRequest {
        instance: Some(Instance {
            id: machine.id.clone(),
            display_name: name.to_owned(),
            etag: etag.to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
    };
    let renamed = budi
        .instances()
        .update_instance(rename("shop", &machine.etag))
        .await
        .unwrap()
        .into_inner()
        .instance
        .unwrap();
    assert_eq!(renamed.display_name, "shop");
    assert_ne!(renamed.etag, machine.etag);
    let error = refused(
        budi.instances()
            .update_instance(rename("store", &machine.etag))
            .await,
    );
    assert!(
        error.is("ETAG_MISMATCH") && error.code() == tonic::Code::Aborted,
        "{error:?}"
    );
    assert_eq!(
        (error.metadata("sent"), error.metadata("current")),
        (Some(&*machine.etag), Some(&*renamed.etag))
    );
    for verb in VERBS
        .into_iter()
        .filter(|verb| ![Verb::PowerOn, Verb::ResetPassword].contains(verb))
    {
        assert_eq!(
            reason_of(ask(&budi, verb, &machine.id, &machine.etag).await),
            "ETAG_MISMATCH",
            "{verb:?}"
        );
    }
    let operation = ask(&budi, Verb::Reboot, &machine.id, &renamed.etag)
        .await
        .unwrap();
    budi.finish(&operation).await.unwrap();
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let update = |instance: Instance, paths: &[&str]| UpdateInstanceRequest {
        instance: Some(Instance {
            id: machine.id.clone(),
            ..instance
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    };
    let new = Instance {
        display_name: "shop".to_owned(),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        hostname: "hacked".to_owned(),
        ..Default::default()
    };
    let changed = budi
        .instances()
        .update_instance(update(new.clone(), &["labels"]))
        .await
        .unwrap()
        .into_inner()
        .instance
        .unwrap();
    assert_eq!(
        (
            changed.display_name.as_str(),
            changed.labels.len(),
            changed.hostname.as_str()
        ),
        ("web-1", 1, "web-1")
    );
    for path in ["hostname", "state", "nonsense", "labels.team"] {
        let error = refused(
            budi.instances()
                .update_instance(update(new.clone(), &[path]))
                .await,
        );
        assert!(
            error.is("FIELD_NOT_WRITABLE") && error.metadata("path") == Some(path),
            "{error:?}"
        );
    }
    let all = budi
        .instances()
        .update_instance(update(
            Instance {
                display_name: "shop".to_owned(),
                ..Default::default()
            },
            &["*"],
        ))
        .await
        .unwrap();
    let all = all.into_inner().instance.unwrap();
    assert_eq!(
        (all.display_name.as_str(), all.labels.len()),
        ("shop", 0),
        "`*` replaces everything writable"
    );
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
async fn an_operation_survives_a_provider_that_errs_and_a_lost_answer() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    for fault in [FaultKind::Error, FaultKind::AnswerLost, FaultKind::Slow] {
        budi.inject(fault, 1).await;
        done(&budi, Verb::Reboot, &machine, State::Running).await;
    }
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
