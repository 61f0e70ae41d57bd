//! Changing what a machine is called, and what two who change it at once are told. [V2]

use sewa_sdk::sewa::instance::v1::{Instance, ListInstancesRequest, UpdateInstanceRequest};
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

#[tokio::test]
async fn machines_are_found_by_their_labels() {
    let world = World::new().await;
    let (budi, web) = owner_of_a_machine(&world).await;
    let mail = budi.running("mail-1").await;
    let label = async |id: &str, labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let request = UpdateInstanceRequest {
            instance: Some(Instance {
                id: id.to_owned(),
                labels: labels.collect(),
                ..Default::default()
            }),
            update_mask: None,
        };
        budi.instances().update_instance(request).await.unwrap();
    };
    label(&web.id, &[("team", "web"), ("prod", "")]).await;
    label(&mail.id, &[("team", "mail=out"), ("prod", "")]).await;
    let found = async |wanted: &[&str]| {
        let mut request = ListInstancesRequest {
            page_size: 1,
            labels: wanted.iter().map(|label| (*label).to_owned()).collect(),
            ..Default::default()
        };
        let mut names = Vec::new();
        loop {
            let page = budi.instances().list_instances(request.clone()).await;
            let page = page.unwrap().into_inner();
            names.extend(page.instances.into_iter().map(|i| i.hostname));
            if page.next_page_token.is_empty() {
                return names;
            }
            request.page_token = page.next_page_token;
        }
    };
    assert_eq!(found(&["prod"]).await, ["mail-1", "web-1"]);
    assert_eq!(found(&["prod="]).await, ["mail-1", "web-1"]);
    assert_eq!(found(&["team=web"]).await, ["web-1"]);
    assert_eq!(found(&["prod", "team=mail=out"]).await, ["mail-1"]);
    for nothing in ["team=", "team=we", "absent", "absent=", "prod=web"] {
        assert!(found(&[nothing]).await.is_empty(), "{nothing}");
    }
    assert!(found(&["team=web", "team=mail=out"]).await.is_empty());
    // A token belongs to the labels it was given for.
    let request = ListInstancesRequest {
        page_size: 1,
        labels: vec!["prod".to_owned()],
        ..Default::default()
    };
    let page = budi.instances().list_instances(request.clone()).await;
    let other = ListInstancesRequest {
        page_token: page.unwrap().into_inner().next_page_token,
        labels: Vec::new(),
        ..request.clone()
    };
    let refusal = budi.instances().list_instances(other).await;
    assert_eq!(reason_of(refusal), "INVALID_PAGE_TOKEN");
    let bad = ListInstancesRequest {
        labels: vec!["Not A Label".to_owned()],
        ..request
    };
    let refusal = budi.instances().list_instances(bad).await;
    assert_eq!(reason_of(refusal), "INVALID_REQUEST");
}
