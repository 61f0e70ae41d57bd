//! The dialect of Vultr.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::backups::Keeping;
use super::faults::Verb;
use super::firewalls::{Walling, rules};
use super::machines::{Answer, Given, NewVm, Order, Vm};
use super::reverse_dns::{self, Naming};
use super::snapshots::Shot;
use super::usage::Measure;
use super::{Asked, Said};

/// Fields a creation may have, of those the platform has a use for.
const FIELDS: [&str; 12] = [
    "region",
    "plan",
    "os_id",
    "image_id",
    "label",
    "hostname",
    "tags",
    "sshkey_id",
    "user_data",
    "enable_ipv6",
    "backups",
    "activation_email",
];

fn number(id: &str) -> Option<u64> {
    u64::try_from(Uuid::try_parse(id).ok()?.as_u128()).ok()
}

/// Which page a list is asked for, and how long.
fn page_of(ask: &Asked) -> Result<(usize, usize), String> {
    let size = ask.query.get("per_page").and_then(|n| n.parse().ok());
    let cursor = ask.query.get("cursor").map_or("", String::as_str);
    let page = cursor.strip_prefix("page=").map_or(Ok(1), str::parse);
    match (size.unwrap_or(100), page) {
        (size, Ok(page)) if size <= 500 && (cursor.is_empty() || page > 1) => Ok((page, size)),
        _ => Err(format!("per_page or cursor {cursor:?}")),
    }
}

/// What is asked.
pub fn read(ask: &Asked) -> Order {
    let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
    let act = |id: &str, verb, argument| {
        number(id).map_or(Order::Nowhere, |id| Order::Act(id, verb, argument))
    };
    match (ask.method.as_str(), &parts[..]) {
        ("GET", ["v2", "account"]) => Order::Account,
        ("GET", ["v2", "plans"]) => Order::Prices,
        ("GET", ["v2", "instances"]) => match page_of(ask) {
            Ok((page, size)) => Order::List(ask.query.get("label").cloned(), page, size),
            Err(why) => Order::Invalid(why),
        },
        ("GET", ["v2", "snapshots"]) => match page_of(ask) {
            Ok((page, size)) => {
                let name = ask.query.get("description").cloned();
                Order::Snapshots(None, name, page, size)
            }
            Err(why) => Order::Invalid(why),
        },
        ("POST", ["v2", "snapshots"]) => take(&ask.body),
        ("DELETE", ["v2", "snapshots", id]) => {
            number(id).map_or(Order::Nowhere, Order::DeleteSnapshot)
        }
        ("GET", ["v2", "instances", id, "ipv4"]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Name(id, Naming::List4))
        }
        ("GET", ["v2", "instances", id, "ipv6", "reverse"]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Name(id, Naming::List6))
        }
        ("POST", ["v2", "instances", id, kind @ ("ipv4" | "ipv6"), "reverse"]) => {
            match (ask.body["ip"].as_str(), ask.body["reverse"].as_str()) {
                (Some(ip), Some(name)) if ip.contains(':') == (*kind == "ipv6") => {
                    reverse_dns::set(number(id), ip, true, Some(name))
                }
                _ => Order::Invalid("ip and reverse are required".to_owned()),
            }
        }
        ("POST", ["v2", "instances", id, "ipv4", "reverse", "default"]) => {
            match ask.body["ip"].as_str() {
                Some(ip) => reverse_dns::set(number(id), ip, true, None),
                None => Order::Invalid("ip is required".to_owned()),
            }
        }
        ("DELETE", ["v2", "instances", id, "ipv6", "reverse", ip]) => {
            reverse_dns::set(number(id), ip, true, None)
        }
        ("GET", ["v2", "instances", id, "bandwidth"]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Measure(id, Measure::Days))
        }
        ("POST", ["v2", "instances", id, "restore"]) => {
            let named = |field: &str| ask.body[field].as_str().and_then(number);
            match (number(id), named("snapshot_id"), named("backup_id")) {
                (Some(id), Some(snapshot), None) => Order::Restore(id, snapshot),
                (Some(id), None, Some(backup)) => Order::Keep(id, Keeping::Restore(backup)),
                _ => Order::Invalid("backup_id or snapshot_id is required".to_owned()),
            }
        }
        ("POST", ["v2", "instances"]) => create(&ask.body),
        ("GET", ["v2", "instances", id]) => number(id).map_or(Order::Nowhere, Order::Get),
        ("GET", ["v2", "backups"]) => match ask.query.get("instance_id").map(|id| number(id)) {
            Some(Some(id)) => Order::Keep(id, Keeping::List),
            _ => Order::Invalid("nobody asks for the backups of all".to_owned()),
        },
        (verb, ["v2", "instances", id, "backup-schedule"]) => {
            number(id).map_or(Order::Nowhere, |id| schedule(verb, id, &ask.body))
        }
        (method, ["v2", "firewalls", rest @ ..]) => firewall(method, rest, ask),
        ("PATCH", ["v2", "instances", id]) => {
            number(id).map_or(Order::Nowhere, |id| patch(id, &ask.body))
        }
        ("DELETE", ["v2", "instances", id]) => act(id, Verb::Delete, None),
        ("POST", ["v2", "instances", id, "start"]) => act(id, Verb::PowerOn, None),
        ("POST", ["v2", "instances", id, "halt"]) => act(id, Verb::PowerOff, None),
        ("POST", ["v2", "instances", id, "reboot"]) => act(id, Verb::Reboot, None),
        ("POST", ["v2", "instances", id, "reinstall"]) => number(id).map_or(Order::Nowhere, |id| {
            Order::Rebuild(id, None, Given::default())
        }),
        _ => Order::Nowhere,
    }
}

/// What is changed about a machine: one thing at a time, as far as the platform has a use for it.
fn patch(id: u64, body: &Value) -> Order {
    let text = |field: &str| body[field].as_str();
    if let Some(group) = text("firewall_group_id") {
        let group = number(group).map(|group| Order::Wall(Walling::Guard(id, group)));
        return group.unwrap_or(Order::Nowhere);
    }
    if let Some(plan) = text("plan") {
        return Order::Resize(id, plan.to_owned(), true);
    }
    match text("backups") {
        Some("enabled") => return Order::Keep(id, Keeping::Switch(true)),
        Some("disabled") => return Order::Keep(id, Keeping::Switch(false)),
        Some(_) => return Order::Invalid("backups is enabled or disabled".to_owned()),
        None => {}
    }
    match (image(body), user_data(body)) {
        (_, Err(())) => Order::Invalid("user_data is not in Base64".to_owned()),
        (None, Ok(Some(data))) => Order::Note(id, data),
        (Some(image), Ok(user_data)) => {
            let given = Given {
                user_data,
                ..Given::default()
            };
            Order::Rebuild(id, Some(image), given)
        }
        (None, Ok(None)) => Order::Invalid("nothing to change".to_owned()),
    }
}

/// When backups are taken of a machine.
fn schedule(verb: &str, id: u64, body: &Value) -> Order {
    match (verb, body["type"].as_str(), body["hour"].as_u64()) {
        ("GET", ..) => Order::Keep(id, Keeping::Schedule),
        ("POST", Some("daily"), Some(0..24)) => Order::Keep(id, Keeping::Daily),
        _ => Order::Invalid("type and hour are required".to_owned()),
    }
}

/// A copy of a machine's disk.
fn take(body: &Value) -> Order {
    let text = |field: &str| body[field].as_str();
    match (text("instance_id").and_then(number), text("description")) {
        (Some(id), Some(name)) => Order::Snapshot(id, name.to_owned()),
        _ => Order::Invalid("instance_id is required".to_owned()),
    }
}

fn firewall(method: &str, rest: &[&str], ask: &Asked) -> Order {
    let body = &ask.body;
    match (method, rest) {
        ("GET", []) => match page_of(ask) {
            Ok((page, size)) => Order::Wall(Walling::List(None, None, page, size)),
            Err(why) => Order::Invalid(why),
        },
        ("POST", []) => match body["description"].as_str() {
            Some(name) => Order::Wall(Walling::Create(name.to_owned(), vec![], vec![], vec![])),
            None => Order::Invalid("description is required".to_owned()),
        },
        (method, [group, rest @ ..]) => match (number(group), method, rest) {
            (Some(id), "DELETE", []) => Order::Wall(Walling::Delete(id)),
            (Some(id), "GET", ["rules"]) => Order::Wall(Walling::ListRules(id)),
            (Some(id), "POST", ["rules"]) => rules::vultr_rule(id, body),
            (Some(id), "DELETE", ["rules", rule]) => match rule.parse() {
                Ok(rule) => Order::Wall(Walling::DropRule(id, rule)),
                Err(_) => Order::Nowhere,
            },
            _ => Order::Nowhere,
        },
        _ => Order::Nowhere,
    }
}

fn image(body: &Value) -> Option<String> {
    match (body["os_id"].as_u64(), body["image_id"].as_str()) {
        (Some(os), None) => Some(os.to_string()),
        (None, Some(image)) => Some(image.to_owned()),
        _ => None,
    }
}

/// User data come in Base64.
fn user_data(body: &Value) -> Result<Option<String>, ()> {
    let Some(encoded) = body["user_data"].as_str() else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(encoded).map_err(drop)?;
    String::from_utf8(bytes).map(Some).map_err(drop)
}

fn create(body: &Value) -> Order {
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    let unknown = body
        .as_object()
        .and_then(|o| o.keys().find(|k| !FIELDS.contains(&k.as_str())));
    if let Some(unknown) = unknown {
        return Order::Invalid(format!("no field {unknown}"));
    }
    let (Some(region), Some(size), Some(image)) = (text("region"), text("plan"), image(body))
    else {
        return Order::Invalid("region, plan and exactly one image are required".to_owned());
    };
    let Ok(data) = user_data(body) else {
        return Order::Invalid("user_data is not in Base64".to_owned());
    };
    Order::Create(NewVm {
        label: text("label").unwrap_or_default(),
        size,
        image,
        region,
        given: Given {
            user_data: data,
            ..Given::default()
        },
    })
}

fn instance(vm: &Vm) -> Value {
    let making = vm.work == Verb::Create && vm.busy();
    let was_on = match vm.work {
        Verb::PowerOff | Verb::Shutdown if vm.busy() => true,
        Verb::PowerOn if vm.busy() => false,
        _ => vm.on,
    };
    json!({
        "id": Uuid::from_u128(u128::from(vm.id)),
        "os": "Debian 13 x64 (trixie)",
        "ram": 1024,
        "disk": vm.disk,
        "main_ip": vm.address().map_or_else(|| "0.0.0.0".to_owned(), |a| a.to_string()),
        "vcpu_count": 1,
        "region": vm.region,
        "plan": vm.size,
        "date_created": "2026-11-21T00:00:00+00:00",
        "status": if making { "pending" } else if vm.work == Verb::Resize && vm.busy() { "resizing" } else { "active" },
        "allowed_bandwidth": 1000,
        "netmask_v4": "255.255.254.0",
        "gateway_v4": "45.0.0.1",
        "power_status": if was_on { "running" } else { "stopped" },
        "server_status": if making { "none" } else if vm.busy() { "locked" } else { "ok" },
        "v6_network": if making { "" } else { "2001:db8:3::" },
        "v6_main_ip": if making { String::new() } else { vm.ipv6().to_string() },
        "v6_network_size": if making { 0 } else { 64 },
        "label": vm.label,
        "internal_ip": "",
        // Another one each time, until it can be looked at.
        "kvm": if making { String::new() } else { format!("https://my.vultr.com/subs/vps/novnc/api.php?data={}", Uuid::now_v7().simple()) },
        "hostname": "web-1",
        "os_id": if vm.restored() { 164 } else { vm.image.parse::<u64>().unwrap_or_default() },
        "app_id": 0,
        "image_id": "",
        "features": ["ipv6"],
        "tags": ["sewa"],
        "user_scheme": "root",
        "firewall_group_id": vm.group.map_or_else(String::new, |id| Uuid::from_u128(u128::from(id)).to_string()),
    })
}

fn snapshot(shot: &Shot) -> Value {
    json!({
        "id": Uuid::from_u128(u128::from(shot.id)),
        "date_created": "2026-11-21T00:00:00+00:00",
        "description": shot.name,
        "size": u64::from(shot.disk.disk) << 30,
        "compressed_size": 949_678_560,
        "status": if shot.is_whole() { "complete" } else { "pending" },
        "os_id": shot.disk.image.parse::<u64>().unwrap_or_default(),
        "app_id": 0,
    })
}

fn meta(number: usize, size: usize, total: usize) -> Value {
    let next = if number * size < total {
        format!("page={}", number + 1)
    } else {
        String::new()
    };
    json!({"total": total, "links": {"next": next, "prev": ""}})
}

fn refusal(status: u16, error: &str) -> Said {
    Said {
        status,
        body: json!({"error": error, "status": status}),
        reason: None,
    }
}

/// How it is answered.
pub fn write(answer: &Answer) -> Said {
    let said = |status, body| Said {
        status,
        body,
        reason: None,
    };
    match answer {
        Answer::Created(vm) => {
            let mut shown = instance(vm);
            // Only here, and for some minutes after.
            shown["default_password"] = Value::from("v5{Fkvb#2ycPGwHs");
            said(202, json!({"instance": shown}))
        }
        Answer::Shown(vm) => said(200, json!({"instance": instance(vm)})),
        Answer::Listed(page, number, size, total) => {
            let instances: Vec<Value> = page.iter().map(instance).collect();
            said(
                200,
                json!({"instances": instances, "meta": meta(*number, *size, *total)}),
            )
        }
        Answer::Snapshots(_, page, number, size, total) => {
            let snapshots: Vec<Value> = page.iter().map(snapshot).collect();
            said(
                200,
                json!({"snapshots": snapshots, "meta": meta(*number, *size, *total)}),
            )
        }
        Answer::Taken(shot) => said(201, json!({"snapshot": snapshot(shot)})),
        Answer::Accepted(vm) if vm.work == Verb::Restore => said(
            202,
            json!({"status": {"restore_type": "snapshot", "restore_id": "", "status": "restoring"}}),
        ),
        Answer::Accepted(vm) if matches!(vm.work, Verb::Rebuild | Verb::Resize) => {
            said(202, json!({"instance": instance(vm)}))
        }
        Answer::Accepted(_) | Answer::Deleted | Answer::Already => said(204, Value::Null),
        Answer::Measured(told) => said(200, told.clone()),
        Answer::Account => said(
            200,
            json!({"account": {
                "balance": -100.55, "pending_charges": 60.25, "name": "Example", "email": "admin@example.com", "acls": ["manage_users"],
                "last_payment_date": "2026-10-10T01:56:20+00:00", "last_payment_amount": -1.25,
            }}),
        ),
        Answer::Prices => said(
            200,
            json!({"plans": [{"id": "vc2-1c-1gb", "vcpu_count": 1, "ram": 1024, "disk": 25, "bandwidth": 1000, "monthly_cost": 5, "type": "vc2", "locations": ["sgp"]}],
                "meta": {"total": 1, "links": {"next": "", "prev": ""}}}),
        ),
        Answer::Guarded(vm) => said(202, json!({"instance": instance(vm)})),
        Answer::Said(own) => own.clone(),
        Answer::Balance | Answer::NotFound => refusal(404, "Invalid instance-id."),
        Answer::Busy => refusal(400, "Server is currently locked"),
        Answer::Full => refusal(400, "The plan vc2-1c-1gb is not available in this location"),
        Answer::LabelTaken | Answer::MustBeOff => refusal(400, "Invalid request"),
        Answer::Unauthorized => refusal(401, "Invalid API token."),
        Answer::TooMany => refusal(429, "Rate limit exceeded"),
        Answer::Broken => refusal(500, "Internal error"),
        Answer::Invalid(why) => refusal(400, why),
    }
}
