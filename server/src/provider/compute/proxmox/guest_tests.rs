//! What is made of guests.

use serde_json::json;
use uuid::Uuid;

use super::*;

#[test]
fn sizes_read_back_and_nothing_else_is_one() {
    let size = Size {
        vcpus: 2,
        memory_mib: 4096,
        disk_gib: 80,
    };
    assert_eq!(size.name(), "2c-4096m-80g");
    assert_eq!(Size::parse("2c-4096m-80g"), Ok(size));
    for wrong in [
        "",
        "2c-4096m",
        "0c-4096m-80g",
        "2c-4096m-80g-1x",
        "2c-8m-1g",
        "-2c-1m-1g",
    ] {
        assert!(Size::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_guest_is_raw_until_it_has_our_tag() {
    let name = name_of(InstanceId(Uuid::from_u128(7)));
    let status = json!({"status": "stopped"});
    let raw = json!({"name": name, "cores": 1, "memory": "1024", "scsi0": "zfs:vm-1-disk-0,size=3G", "tags": "golden"});
    let seen = Seen::new("pve1", 1, &status, &raw, false);
    assert!(seen.is_raw() && seen.is_ours() && seen.machine.ipv4.is_none());
    let tags = format!("{name};sewa-size-2c-1024m-25g");
    let made = json!({"name": "web-1", "cores": 2, "memory": "1024", "scsi0": "zfs:vm-1-disk-0,discard=on,size=25G", "tags": tags,
        "ipconfig0": "ip=203.0.113.7/24,gw=203.0.113.1", "boot": "order=scsi0;ide2"});
    let seen = Seen::new("pve1", 1, &status, &made, false);
    assert_eq!(seen.machine.reference, Uuid::from_u128(7).to_string());
    assert_eq!(seen.machine.size, "2c-1024m-25g");
    assert_eq!(seen.machine.ipv4, Some(Ipv4Addr::new(203, 0, 113, 7)));
    let mut grown = made.clone();
    grown["cores"] = json!(4);
    let seen = Seen::new("pve1", 1, &status, &grown, false);
    assert_eq!(
        seen.machine.size, "4c-1024m-25g",
        "what it is, not what its tag says"
    );
    assert!(seen.tags_with_size("x").ends_with("sewa-size-x"));
    assert_eq!(seen.tags_with_size("x").matches("sewa-size").count(), 1);
}

#[test]
fn the_boot_disk_is_no_cdrom_and_has_a_size() {
    let config = json!({"boot": "order=ide2;net0;virtio0", "ide2": "zfs:vm-1-cloudinit,media=cdrom", "net0": "virtio=AA:BB,bridge=vmbr0",
        "virtio0": "ceph:vm-1-disk-0,iothread=1,size=2252M"});
    let disk = boot_disk(&config).unwrap();
    assert_eq!(
        (disk.key.as_str(), disk.storage(), disk.gib),
        ("virtio0", "ceph", 2)
    );
    assert_eq!(disk.options, ["iothread=1"]);
    assert_eq!(
        [gib("1T"), gib("10G"), gib("1025M"), gib("x")],
        [1024, 10, 1, 0]
    );
    assert_eq!(boot_disk(&json!({})), None);
}

#[test]
fn keys_are_escaped_twice_and_never_with_a_plus() {
    let fields = credentials(&"pw".into(), &["ssh-ed25519 AA+B/= me@x".to_owned()]);
    assert_eq!(fields[2].1, "ssh-ed25519%20AA%2BB%2F%3D%20me%40x");
    assert!(form(&fields).contains("ssh-ed25519%2520AA%252BB%252F%253D%2520me%2540x"));
}

#[test]
fn each_rebuild_has_its_own_mark() {
    assert_ne!(mark_of(&"a".into()), mark_of(&"b".into()));
    assert_eq!(mark_of(&"a".into()).len(), 12);
}
