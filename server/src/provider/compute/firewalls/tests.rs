use super::*;
use crate::provider::compute::vendor::Access;

fn network(text: &str) -> Network {
    Network::parse(text).unwrap_or_else(|| panic!("{text}"))
}

fn rule(protocol: Protocol, first_port: u16, last_port: u16, sources: &[&str]) -> Rule {
    Rule {
        protocol,
        first_port,
        last_port,
        sources: sources.iter().map(|s| network(s)).collect(),
        description: String::new(),
    }
}

#[test]
fn what_is_promised_of_a_vendor_its_adapter_does() {
    for vendor in Vendor::ALL {
        let cloud = vendor.connect(&Access::nowhere()).unwrap();
        assert_eq!(cloud.firewalls().is_some(), has(vendor), "{vendor:?}");
    }
}

#[test]
fn networks_are_read_whole_and_written_in_one_form() {
    for (text, canonical) in [
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("203.0.113.7/32", "203.0.113.7/32"),
        ("2001:0DB8:0::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("2001:db8::1/128", "2001:db8::1/128"),
    ] {
        assert_eq!(network(text).to_string(), canonical);
    }
    for wrong in [
        "203.0.113.7",
        "203.0.113.7/24",
        "203.0.113.0/33",
        "203.0.113.0/-1",
        "2001:db8::1/64",
        "::/129",
        "::ffff:203.0.113.7/128",
        "::ffff:0:0/96",
        "/0",
        "everywhere/0",
        "",
    ] {
        assert_eq!(Network::parse(wrong), None, "{wrong}");
    }
    assert_eq!(network("0.0.0.0/0"), Network::ALL_V4);
    assert_eq!(network("::/0"), Network::ALL_V6);
}

#[test]
fn a_network_covers_what_lies_in_it() {
    for (outer, inner, covers) in [
        ("0.0.0.0/0", "203.0.113.7/32", true),
        ("203.0.113.0/24", "203.0.113.0/24", true),
        ("203.0.113.0/25", "203.0.113.128/25", false),
        ("203.0.113.0/25", "203.0.113.0/24", false),
        ("::/0", "203.0.113.0/24", false),
        ("0.0.0.0/0", "2001:db8::/32", false),
        ("::/0", "2001:db8::/32", true),
        ("2001:db8::/32", "2001:db8:1::/48", true),
        ("2001:db8::/32", "2001:db9::/48", false),
    ] {
        let (outer_is, inner_is) = (network(outer), network(inner));
        assert_eq!(outer_is.covers(inner_is), covers, "{outer} {inner}");
    }
}

#[test]
fn an_entry_covers_what_it_lets_in_already() {
    let wide = rule(Protocol::Tcp, 1, 65535, &["10.0.0.0/8"]);
    let ssh = rule(Protocol::Tcp, 22, 22, &["10.1.0.0/16"]);
    let everywhere = rule(Protocol::Tcp, 22, 22, &["0.0.0.0/0"]);
    let udp = rule(Protocol::Udp, 22, 22, &["10.1.0.0/16"]);
    let one = |rule: &Rule| rule.entries().next().unwrap();
    assert!(one(&wide).covers(&one(&ssh)));
    assert!(one(&everywhere).covers(&one(&ssh)));
    assert!(!one(&ssh).covers(&one(&wide)));
    // Neither is needless: one has more ports, the other more sources.
    assert!(!one(&everywhere).covers(&one(&wide)) && !one(&wide).covers(&one(&everywhere)));
    assert!(!one(&udp).covers(&one(&ssh)));
}

#[test]
fn what_a_cloud_has_is_compared_one_by_one() {
    let rules = [
        rule(Protocol::Tcp, 80, 80, &["0.0.0.0/0", "::/0"]),
        rule(Protocol::Icmp, 0, 0, &["0.0.0.0/0"]),
    ];
    let all: Vec<Entry> = entries(&rules).into_iter().collect();
    let shown = |given: &[Entry]| {
        let named = given.iter().zip(1..).map(|(e, name)| (Some(*e), name));
        named.collect::<Vec<_>>()
    };
    assert!(Difference::of(&rules, shown(&all)).is_none());
    let twice = Difference::of(&rules, shown(&[all[0], all[0], all[2]]));
    assert_eq!(
        twice,
        Difference {
            missing: vec![all[1]],
            surplus: vec![2]
        }
    );
    let strange = Difference::of(&rules, [(None, 7)]);
    assert_eq!((strange.missing, strange.surplus), (all, vec![7]));
}

#[test]
fn ports_are_written_and_read() {
    let web = rule(Protocol::Tcp, 80, 90, &["::/0"]);
    assert_eq!(web.ports('-').as_deref(), Some("80-90"));
    let ssh = rule(Protocol::Tcp, 22, 22, &["::/0"]);
    assert_eq!(ssh.ports(':').as_deref(), Some("22"));
    assert_eq!(rule(Protocol::Icmp, 0, 0, &["::/0"]).ports('-'), None);
    assert_eq!(parse_ports(Protocol::Udp, "22", ':'), Some((22, 22)));
    assert_eq!(parse_ports(Protocol::Udp, "80:90", ':'), Some((80, 90)));
    assert_eq!(parse_ports(Protocol::Udp, "80,443", ':'), None);
    assert_eq!(parse_ports(Protocol::Icmp, "", ':'), Some((0, 0)));
}
