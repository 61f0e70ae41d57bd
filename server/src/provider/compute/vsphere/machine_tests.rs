//! What is read of machines, and what they are told.

use uuid::Uuid;

use super::*;
use crate::base::id::AccountId;
use crate::provider::compute::{Boot, Reference};

fn place() -> Place {
    Place {
        node: "esx1".to_owned(),
        vmid: 1_000_007,
        address: "203.0.113.9".parse().unwrap(),
        prefix: 24,
        gateway: "203.0.113.1".parse().unwrap(),
        bridge: "public".to_owned(),
        vlan: 0,
        nameservers: vec!["203.0.113.2".parse().unwrap()],
    }
}

fn wish() -> CreateMachine {
    CreateMachine {
        reference: Reference {
            account: AccountId(Uuid::from_u128(1)),
            instance: InstanceId(Uuid::from_u128(7)),
        },
        size: "2c-4096m-80g".to_owned(),
        region: "jkt1".to_owned(),
        image: "debian-13".to_owned(),
        boot: Boot {
            hostname: "web-1".to_owned(),
            password: "abcDEF23".into(),
            ssh_keys: Vec::new(),
            user_data: None,
        },
        place: Some(place()),
    }
}

fn shown(nics: Value) -> Value {
    json!({
        "name": name_of(wish().reference.instance), "power_state": "POWERED_ON", "cpu": {"count": 2, "cores_per_socket": 2}, "memory": {"size_MiB": 4096},
        "disks": {"2000": {"capacity": 80_u64 << 30}, "16000": {"capacity": 1_u64 << 30}}, "nics": nics,
    })
}

#[test]
fn a_machine_is_raw_until_it_has_a_network_adapter() {
    let raw = Seen::read("vm-9", &shown(json!({}))).unwrap();
    assert!(raw.machine().is_raw());
    assert_eq!(raw.instance(), Some(wish().reference.instance));
    let whole = Seen::read("vm-9", &shown(json!({"4000": {}}))).unwrap();
    let machine = whole.machine();
    assert_eq!(machine.size, "2c-4096m-80g", "by the disk it boots from");
    assert_eq!((machine.power, machine.busy), (Power::Running, false));
    assert_eq!(machine.reference, wish().reference.instance.to_string());
    let unreadable = Seen::read("vm-9", &json!({"name": "x"}));
    assert!(matches!(unreadable, Err(ProviderError::Unavailable(_))));
}

#[test]
fn a_template_has_one_disk_and_no_network_adapter() {
    let disk = json!({"capacity": 3_u64 << 30, "disk_storage": {"datastore": "datastore-1"}});
    let template = Template::read("i", &json!({"disks": {"2000": disk}, "nics": {}})).unwrap();
    assert_eq!((template.disk.as_str(), template.disk_gib), ("2000", 3));
    let of = |value: Value| Template::read("i", &value).unwrap_err();
    let two = json!({"disks": {"2000": disk, "2001": disk}, "nics": {}});
    assert!(of(two).contains("one disk"));
    assert!(of(Value::Null).contains("one disk"));
    let connected = json!({"disks": {"2000": disk}, "nics": {"4000": {}}});
    assert!(of(connected).contains("no network adapter"));
}

#[test]
fn a_deployment_has_the_whole_size_and_stays_off() {
    let template = Template {
        item: "i".to_owned(),
        disk: "2000".to_owned(),
        disk_gib: 3,
        datastore: "datastore-1".to_owned(),
    };
    let size = Size::parse("2c-4096m-80g").unwrap();
    let spec = deployment(&wish(), size, &template, "group-v1", "host-1");
    let hardware = &spec["hardware_customization"];
    assert_eq!(
        hardware["disks_to_update"]["2000"]["capacity"],
        80_u64 << 30
    );
    assert_eq!(hardware["cpu_update"]["num_cpus"], 2);
    assert_eq!(spec["powered_on"], false);
    let same = Template {
        disk_gib: 80,
        ..template
    };
    let spec = deployment(&wish(), size, &same, "group-v1", "host-1");
    assert!(
        spec["hardware_customization"]
            .get("disks_to_update")
            .is_none()
    );
}

#[test]
fn a_machine_is_told_its_address_by_its_network_adapter() {
    assert_eq!(hardware_address(&place()), "00:50:56:00:71:09");
    let other = Place {
        address: "10.255.1.2".parse().unwrap(),
        ..place()
    };
    // VMware leaves 00 to 3f in the fourth byte to us.
    assert_eq!(hardware_address(&other), "00:50:56:3f:01:02");
    let told = customization(&wish(), &place());
    let cloudinit = &told["spec"]["configuration_spec"]["cloud_config"]["cloudinit"];
    let metadata: Value = serde_json::from_str(cloudinit["metadata"].as_str().unwrap()).unwrap();
    let public = &metadata["network"]["ethernets"]["public"];
    assert_eq!(public["match"]["macaddress"], "00:50:56:00:71:09");
    assert_eq!(public["addresses"][0], "203.0.113.9/24");
    assert!(!cloudinit["metadata"].to_string().contains("abcDEF23"));
    assert!(cloudinit["userdata"].as_str().unwrap().contains("abcDEF23"));
}

#[test]
fn an_adapter_is_connected_to_the_one_port_group_of_its_name() {
    let group = json!({"network": "network-5", "type": "DISTRIBUTED_PORTGROUP", "name": "public"});
    let nic = adapter(&json!([group]), &place()).unwrap();
    assert_eq!(nic["backing"]["network"], "network-5");
    assert_eq!(nic["mac_address"], hardware_address(&place()));
    for wrong in [
        json!([]),
        json!([group, group]),
        json!([{"network": "n", "type": "OPAQUE_NETWORK"}]),
    ] {
        let refused = adapter(&wrong, &place());
        assert!(
            matches!(refused, Err(ProviderError::Unavailable(_))),
            "{wrong}"
        );
    }
}
