//! Changing what a machine is called, and what two who change it at once are told. [V2]

use sewa_sdk::sewa::instance::v1::{Instance, UpdateInstanceRequest};
use sewa_tests::{World, reason_of, refused};

use crate::instance::{VERBS, Verb, ask, owner_of_a_machine};

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
