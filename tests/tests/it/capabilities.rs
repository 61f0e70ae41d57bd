//! Providers differ in what they can do, and the API says so before and after. [V5]

use sewa_sdk::sewa::catalog::v1::ListPlansRequest;
use sewa_sdk::sewa::instance::v1::{
    RebuildInstanceRequest, ResetInstancePasswordRequest, Resolution,
};
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_tests::patience::eventually;
use sewa_tests::{World, refused};

use crate::firewall;
use crate::metrics::{metrics, traffic};

/// One of everything at a cloud that sets no passwords.
const CATALOGUE: &str = r#"
provider = "simulator-basic"

[[region]]
id = "0192f0c1-0000-7000-8000-000000000901"
code = "basic-1"
name = "Basic 1"
country = "ID"
available = true
provider_region = "basic-1"

[[image]]
id = "0192f0c1-0000-7000-8000-000000000902"
code = "basic-debian"
name = "Debian"
kind = "os"
distribution = "Debian"
min_disk_gib = 5
provider_image = "debian-12"

[[plan]]
id = "0192f0c1-0000-7000-8000-000000000903"
code = "basic"
name = "Basic"
vcpus = 1
memory_mib = 512
disk_gib = 10
transfer_gib = 500
provider_size = "basic-1"
price = { hour = 124, day = 3000, month = 83000, year = 830000 }
"#;

#[tokio::test]
async fn what_a_provider_cannot_do_is_said_and_refused() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let able = budi.running("web-1").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), CATALOGUE).unwrap();
    let path = file.path().to_str().unwrap();
    world.sewa(&["catalogue", "--file", path], "").unwrap();
    // Servers look for a new catalogue once a second.
    eventually("the plan is sold", || async {
        let plans = budi.catalog().list_plans(ListPlansRequest::default()).await;
        let plans = plans.unwrap().into_inner().plans;
        plans
            .iter()
            .any(|plan| plan.code == "basic")
            .then_some(())
            .ok_or("not yet")
    })
    .await;
    let draft = OrderDraft {
        plan_id: "0192f0c1-0000-7000-8000-000000000903".to_owned(),
        region_id: "0192f0c1-0000-7000-8000-000000000901".to_owned(),
        image_id: "0192f0c1-0000-7000-8000-000000000902".to_owned(),
        ..budi.draft("web-2").await
    };
    let placed = budi.place(draft).await.unwrap();
    let order = budi.wait_active(&placed).await;
    assert_eq!(order.state(), State::Active);
    let basic = budi.instance(&order.instance_id).await;
    let can = |names: &[String]| names.iter().any(|name| name == "reset_password");
    assert!(can(&able.capabilities), "{able:?}");
    assert!(!can(&basic.capabilities), "{basic:?}");
    assert!(!basic.capabilities.is_empty(), "it can do the rest");
    let reset = |instance_id: &str| ResetInstancePasswordRequest {
        instance_id: instance_id.to_owned(),
    };
    let error = refused(
        budi.instances()
            .reset_instance_password(reset(&basic.id))
            .await,
    );
    assert!(
        error.is("NOT_SUPPORTED_BY_PROVIDER") && error.code() == tonic::Code::Unimplemented,
        "{error:?}"
    );
    assert_eq!(error.metadata("capability"), Some("reset_password"));
    let rebuild = RebuildInstanceRequest {
        instance_id: basic.id.clone(),
        user_data: "#!/bin/sh\n".to_owned(),
        ..Default::default()
    };
    let error = refused(budi.instances().rebuild_instance(rebuild).await);
    assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
    assert_eq!(error.metadata("capability"), Some("rebuild_credentials"));
    let missing = [
        (
            "metrics",
            metrics(&budi, &basic.id, Resolution::OneMinute).await.err(),
        ),
        ("traffic", traffic(&budi, &basic.id).await.err()),
        ("firewall", firewall::get(&budi, &basic.id).await.err()),
        (
            "firewall",
            firewall::set(&budi, &basic.id, false, &[]).await.err(),
        ),
    ];
    for (capability, error) in missing {
        let error = error.expect("a refusal");
        assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
        assert_eq!(error.metadata("capability"), Some(capability));
        assert!(!basic.capabilities.iter().any(|name| name == capability));
    }
    let again = budi.instance(&basic.id).await;
    assert_eq!(again.etag, basic.etag, "nothing was begun");
    budi.instances()
        .reset_instance_password(reset(&able.id))
        .await
        .expect("the other cloud can");
}
