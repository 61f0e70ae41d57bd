//! The dialect of Linode.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::backups::Keeping;
use super::faults::Verb;
use super::firewalls::{Walling, rules};
use super::machines::{Answer, Given, NewVm, Order, Vm};
use super::reverse_dns::{self, Naming};
use super::usage::Measure;
use super::{Asked, Said};

/// Fields a creation may have, of those the platform has a use for.
const FIELDS: [&str; 10] = [
    "region",
    "type",
    "image",
    "label",
    "root_pass",
    "authorized_keys",
    "booted",
    "backups_enabled",
    "tags",
    "metadata",
];

/// What is asked.
pub fn read(ask: &Asked) -> Order {
    let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
    let number = |id: &str| id.parse::<u64>().ok();
    let page = |name: &str, usual: usize| {
        ask.query
            .get(name)
            .and_then(|n| n.parse().ok())
            .unwrap_or(usual)
    };
    let act = |id: &str, verb, argument| {
        number(id).map_or(Order::Nowhere, |id| Order::Act(id, verb, argument))
    };
    let password = ask.body["root_pass"].as_str().map(str::to_owned);
    match (ask.method.as_str(), &parts[..]) {
        ("GET", ["v4", "account"]) => Order::Account,
        ("GET", ["v4", "linode", "types"]) => Order::Prices,
        ("GET", ["v4", "linode", "instances"]) if !(25..=500).contains(&page("page_size", 100)) => {
            Order::Invalid("page_size must be 25 to 500".to_owned())
        }
        ("GET", ["v4", "linode", "instances"]) => Order::List(
            ask.filter["label"].as_str().map(str::to_owned),
            page("page", 1),
            page("page_size", 100),
        ),
        ("POST", ["v4", "linode", "instances"]) => create(&ask.body),
        ("GET", ["v4", "linode", "instances", id]) => number(id).map_or(Order::Nowhere, Order::Get),
        ("GET", ["v4", "linode", "instances", id, "stats"]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Measure(id, Measure::Stats))
        }
        ("GET", ["v4", "linode", "instances", id, "transfer", year, month]) => {
            match (number(id), year.parse(), month.parse()) {
                (Some(id), Ok(year), Ok(month)) => {
                    Order::Measure(id, Measure::Transfer(year, month))
                }
                _ => Order::Nowhere,
            }
        }
        ("GET", ["v4", "linode", "instances", id, "ips", address]) => {
            match (number(id), address.parse()) {
                (Some(id), Ok(address)) => Order::Name(id, Naming::Get(address)),
                _ => Order::Nowhere,
            }
        }
        ("PUT", ["v4", "linode", "instances", id, "ips", address]) => match ask.body.get("rdns") {
            Some(name) if name.is_string() || name.is_null() => {
                reverse_dns::set(number(id), address, false, name.as_str())
            }
            _ => Order::Invalid("rdns is required".to_owned()),
        },
        (verb, ["v4", "linode", "instances", id, "backups", rest @ ..]) => {
            number(id).map_or(Order::Nowhere, |id| backups(verb, id, rest, &ask.body))
        }
        (method, ["v4", "networking", "firewalls", rest @ ..]) => firewall(method, rest, ask),
        ("DELETE", ["v4", "linode", "instances", id]) => act(id, Verb::Delete, None),
        ("POST", ["v4", "linode", "instances", id, "boot"]) => act(id, Verb::PowerOn, None),
        ("POST", ["v4", "linode", "instances", id, "shutdown"]) => act(id, Verb::Shutdown, None),
        ("POST", ["v4", "linode", "instances", id, "reboot"]) => act(id, Verb::Reboot, None),
        ("POST", ["v4", "linode", "instances", id, "rebuild"]) => {
            match (number(id), ask.body["image"].as_str(), given(&ask.body)) {
                (None, ..) => Order::Nowhere,
                (Some(id), Some(image), Ok(given)) => {
                    Order::Rebuild(id, Some(image.to_owned()), given)
                }
                (_, None, _) => Order::Invalid("image is required".to_owned()),
                (.., Err(why)) => Order::Invalid(why.to_owned()),
            }
        }
        ("POST", ["v4", "linode", "instances", id, "resize"]) => {
            let known = ["type", "allow_auto_disk_resize", "migration_type"];
            let unknown = ask
                .body
                .as_object()
                .and_then(|o| o.keys().find(|k| !known.contains(&k.as_str())));
            let size = ask.body["type"].as_str().map(str::to_owned);
            let disk = ask.body["allow_auto_disk_resize"].as_bool().unwrap_or(true);
            match (number(id), size, unknown) {
                (None, ..) => Order::Nowhere,
                (Some(id), Some(size), None) => Order::Resize(id, size, disk),
                _ => Order::Invalid("type is required".to_owned()),
            }
        }
        ("POST", ["v4", "linode", "instances", id, "password"]) => match password {
            Some(password) => act(id, Verb::ResetPassword, Some(password)),
            None => Order::Invalid("root_pass is required".to_owned()),
        },
        _ => Order::Nowhere,
    }
}

/// What is asked of the backups of a machine.
fn backups(verb: &str, id: u64, rest: &[&str], body: &Value) -> Order {
    let keeping = match (verb, rest) {
        ("GET", []) => Keeping::List,
        ("POST", ["enable"]) => Keeping::Switch(true),
        ("POST", ["cancel"]) => Keeping::Switch(false),
        ("POST", [backup, "restore"]) => match backup.parse() {
            Ok(_) if body["linode_id"] != id || body["overwrite"] != true => {
                let why = "a disk is put back to its own machine, and over what is there";
                return Order::Invalid(why.to_owned());
            }
            Ok(backup) => Keeping::Restore(backup),
            Err(_) => return Order::Nowhere,
        },
        _ => return Order::Nowhere,
    };
    Order::Keep(id, keeping)
}

fn firewall(method: &str, rest: &[&str], ask: &Asked) -> Order {
    let number = |id: &str| id.parse::<u64>().ok();
    let wall = |walling| Order::Wall(walling);
    match (method, rest) {
        ("GET", []) => rules::list(ask, None, "page_size"),
        ("POST", []) => rules::linode(&ask.body),
        (method, [id, rest @ ..]) => match (number(id), method, rest) {
            (Some(id), "GET", []) => wall(Walling::Get(id)),
            (Some(id), "DELETE", []) => wall(Walling::Delete(id)),
            (Some(id), "GET", ["devices"]) => wall(Walling::Devices(id)),
            (Some(id), "POST", ["devices"]) => match ask.body["id"].as_u64() {
                Some(machine) if ask.body["type"] == "linode" => wall(Walling::Attach(id, machine)),
                _ => Order::Invalid("id and type are required".to_owned()),
            },
            (Some(id), "PUT", ["rules"]) => match rules::linode_rules(&ask.body) {
                Ok(inbound) => wall(Walling::Rules(id, inbound)),
                Err(why) => Order::Invalid(why),
            },
            _ => Order::Nowhere,
        },
        _ => Order::Nowhere,
    }
}

/// Password, keys and user data for a new disk.
fn given(body: &Value) -> Result<Given, &'static str> {
    let password = body["root_pass"].as_str().map(str::to_owned);
    if !password
        .as_ref()
        .is_some_and(|p| (7..=128).contains(&p.len()))
    {
        return Err("root_pass");
    }
    let keys = match &body["authorized_keys"] {
        Value::Null => Vec::new(),
        keys => serde_json::from_value(keys.clone()).map_err(|_| "authorized_keys")?,
    };
    let user_data = match &body["metadata"]["user_data"] {
        Value::Null => None,
        data => {
            let bytes = data.as_str().and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.filter(|bytes| bytes.len() <= 65_535);
            Some(
                bytes
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or("metadata.user_data")?,
            )
        }
    };
    Ok(Given {
        password,
        keys,
        user_data,
    })
}

fn create(body: &Value) -> Order {
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    let unknown = body
        .as_object()
        .and_then(|o| o.keys().find(|k| !FIELDS.contains(&k.as_str())));
    if let Some(unknown) = unknown {
        return Order::Invalid(format!("no field {unknown}"));
    }
    let (Some(region), Some(size), Some(image), Some(label)) =
        (text("region"), text("type"), text("image"), text("label"))
    else {
        return Order::Invalid("region, type, image and label are required".to_owned());
    };
    if !(3..=64).contains(&label.len())
        || !label.starts_with(|c: char| c.is_ascii_alphabetic())
        || label.contains("--")
    {
        return Order::Invalid("label".to_owned());
    }
    let given = match given(body) {
        Ok(given) => given,
        Err(why) => return Order::Invalid(why.to_owned()),
    };
    Order::Create(NewVm {
        label,
        size,
        image,
        region,
        given,
    })
}

fn instance(vm: &Vm) -> Value {
    let status = match (vm.busy(), vm.work) {
        (true, Verb::Create) => "provisioning",
        (true, Verb::PowerOn) => "booting",
        (true, Verb::PowerOff | Verb::Shutdown) => "shutting_down",
        (true, Verb::Reboot) => "rebooting",
        (true, Verb::Rebuild) => "rebuilding",
        (true, Verb::Resize) => "resizing",
        _ if vm.on => "running",
        // Also while a password is set: "Linode busy." is all that tells.
        _ => "offline",
    };
    let mut addresses = vec![json!("192.168.133.7")];
    addresses.extend(vm.address().map(|a| json!(a)));
    json!({
        "id": vm.id,
        "label": vm.label,
        "status": status,
        "ipv4": addresses,
        "ipv6": "2001:db8:2::f03c:91ff:fe24:3a2f/128",
        "region": vm.region,
        "type": vm.size,
        "image": vm.image,
        "specs": {"disk": vm.disk * 1024, "memory": 1024, "vcpus": 1, "transfer": 1000, "gpus": 0},
        "tags": ["sewa"],
        "backups": vm.linode_backups(),
        "created": "2026-11-21T00:00:00",
        "updated": "2026-11-21T00:00:00",
        "hypervisor": "kvm",
        "watchdog_enabled": true,
        "has_user_data": true,
    })
}

fn refusal(status: u16, field: Option<&str>, reason: &str) -> Said {
    let mut error = json!({"reason": reason});
    if let Some(field) = field {
        error["field"] = Value::from(field);
    }
    Said {
        status,
        body: json!({"errors": [error]}),
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
        Answer::Created(vm) | Answer::Shown(vm) => said(200, instance(vm)),
        Answer::Accepted(vm) if vm.work == Verb::Rebuild => said(200, instance(vm)),
        Answer::Accepted(_) | Answer::Deleted => said(200, json!({})),
        Answer::Listed(page, number, size, total) => said(
            200,
            json!({
                "data": page.iter().map(instance).collect::<Vec<_>>(),
                "page": number,
                "pages": total.div_ceil(*size).max(1),
                "results": total,
            }),
        ),
        Answer::Measured(told) => said(200, told.clone()),
        Answer::Account => said(
            200,
            json!({"balance": 200, "balance_uninvoiced": 145, "email": "jsmith@example.com", "euuid": "E1AF5EEC-526F-487D-B317EBEB34C87D71"}),
        ),
        Answer::Prices => said(
            200,
            json!({
                "data": [{
                    "id": "g6-nanode-1", "label": "Nanode 1GB", "price": {"hourly": 0.0075, "monthly": 5.0},
                    "region_prices": [{"id": "id-cgk", "hourly": 0.009, "monthly": 6.0}],
                }],
                "page": 1, "pages": 1, "results": 1,
            }),
        ),
        Answer::Said(own) => own.clone(),
        Answer::Balance
        | Answer::NotFound
        | Answer::Guarded(..)
        | Answer::Taken(_)
        | Answer::Snapshots(..) => refusal(404, None, "Not found"),
        Answer::Busy => refusal(400, None, "Linode busy."),
        Answer::Full => refusal(
            400,
            None,
            "Account Limit reached. Please open a support ticket.",
        ),
        Answer::LabelTaken => refusal(
            400,
            Some("label"),
            "Label must be unique among your linodes",
        ),
        Answer::MustBeOff => refusal(400, None, "Linode must be powered off"),
        Answer::Already => refusal(400, None, "Linode is already booted."),
        Answer::Unauthorized => refusal(401, None, "Invalid Token"),
        Answer::TooMany => refusal(429, None, "Too many requests"),
        Answer::Broken => refusal(500, None, "Internal server error"),
        Answer::Invalid(why) => refusal(400, None, why),
    }
}
