//! The dialect of DigitalOcean.

use serde_json::{Value, json};
use uuid::Uuid;

use super::backups::Keeping;
use super::faults::Verb;
use super::firewalls::{Walling, rules};
use super::machines::{Answer, Given, NewVm, Order, Vm};
use super::snapshots::Shot;
use super::usage::Measure;
use super::{Asked, Said};

/// Fields a creation may have, of those the platform has a use for.
const FIELDS: [&str; 10] = [
    "name",
    "region",
    "size",
    "image",
    "ssh_keys",
    "backups",
    "ipv6",
    "monitoring",
    "tags",
    "user_data",
];

/// Firewalls have UUIDs.
fn by_uuid(id: &str) -> Option<u64> {
    u64::try_from(Uuid::try_parse(id).ok()?.as_u128()).ok()
}

/// What is asked.
pub fn read(ask: &Asked) -> Order {
    let parts: Vec<&str> = ask.path.trim_matches('/').split('/').collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let page = |name: &str, usual| {
        ask.query
            .get(name)
            .and_then(|n| n.parse().ok())
            .unwrap_or(usual)
    };
    match (ask.method.as_str(), &parts[..]) {
        ("GET", ["v2", "account"]) => Order::Account,
        ("GET", ["v2", "customers", "my", "balance"]) => Order::Balance,
        ("GET", ["v2", "droplets"]) if page("per_page", 20) > 200 => {
            Order::Invalid("per_page is 200 at most".to_owned())
        }
        ("GET", ["v2", "droplets"]) => Order::List(
            ask.query.get("name").cloned(),
            page("page", 1),
            page("per_page", 20),
        ),
        ("POST", ["v2", "droplets"]) => create(&ask.body),
        ("DELETE", ["v2", "droplets"]) => {
            Order::Invalid("nobody deletes machines by their tag".to_owned())
        }
        ("GET", ["v2", "droplets", id]) => number(id).map_or(Order::Nowhere, Order::Get),
        ("DELETE", ["v2", "droplets", id]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Act(id, Verb::Delete, None))
        }
        ("GET", ["v2", "droplets", id, "snapshots"]) => {
            let (number, size) = (page("page", 1), page("per_page", 20));
            id.parse().map_or(Order::Nowhere, |id| {
                Order::Snapshots(Some(id), None, number, size)
            })
        }
        ("GET", ["v2", "droplets", id, "backups"]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Keep(id, Keeping::List))
        }
        ("GET", ["v2", "droplets", id, "backups", "policy"]) => {
            number(id).map_or(Order::Nowhere, |id| Order::Keep(id, Keeping::Schedule))
        }
        ("GET", ["v2", "snapshots"])
            if ask.query.get("resource_type").map(String::as_str) == Some("droplet") =>
        {
            Order::Snapshots(None, None, page("page", 1), page("per_page", 20))
        }
        ("DELETE", ["v2", "snapshots", id]) => {
            number(id).map_or(Order::Nowhere, Order::DeleteSnapshot)
        }
        ("GET", ["v2", "droplets", id, "firewalls"]) => {
            number(id).map_or(Order::Nowhere, |id| rules::list(ask, Some(id), "per_page"))
        }
        ("GET", ["v2", "firewalls"]) => rules::list(ask, None, "per_page"),
        ("POST", ["v2", "firewalls"]) => rules::digitalocean(None, &ask.body),
        ("PUT", ["v2", "firewalls", id]) => by_uuid(id).map_or(Order::Nowhere, |id| {
            rules::digitalocean(Some(id), &ask.body)
        }),
        ("DELETE", ["v2", "firewalls", id]) => {
            by_uuid(id).map_or(Order::Nowhere, |id| Order::Wall(Walling::Delete(id)))
        }
        ("GET", ["v2", "monitoring", "metrics", "droplet", what]) => metric(what, ask),
        ("POST", ["v2", "droplets", id, "actions"]) => {
            number(id).map_or(Order::Nowhere, |id| action(id, &ask.body))
        }
        _ => Order::Nowhere,
    }
}

fn metric(what: &str, ask: &Asked) -> Order {
    let text = |name: &str| ask.query.get(name).cloned().unwrap_or_default();
    let number = |name: &str| text(name).parse::<i64>().ok();
    let (Ok(id), Some(start), Some(end)) =
        (text("host_id").parse(), number("start"), number("end"))
    else {
        return Order::Invalid("host_id, start and end are required".to_owned());
    };
    let direction = text("direction");
    match what {
        "bandwidth" if text("interface") != "public" => {
            Order::Invalid("nobody sells private traffic".to_owned())
        }
        "bandwidth" if !["inbound", "outbound"].contains(&direction.as_str()) => {
            Order::Invalid("direction is required".to_owned())
        }
        "bandwidth" | "cpu" | "memory_total" | "memory_available" => {
            let measure = Measure::Metric(what.to_owned(), direction, start, end);
            Order::Measure(id, measure)
        }
        _ => Order::Nowhere,
    }
}

fn create(body: &Value) -> Order {
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    let unknown = body
        .as_object()
        .and_then(|o| o.keys().find(|k| !FIELDS.contains(&k.as_str())));
    if let Some(unknown) = unknown {
        return Order::Invalid(format!("no field {unknown}"));
    }
    let image = text("image").or_else(|| body["image"].as_u64().map(|n| n.to_string()));
    let (Some(label), Some(size), Some(image)) = (text("name"), text("size"), image) else {
        return Order::Invalid("name, size and image are required".to_owned());
    };
    if text("user_data").is_some_and(|data| data.len() > 64 << 10) {
        return Order::Invalid("user_data is 64 KiB at most".to_owned());
    }
    let of_a_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if label.len() > 255 || !label.chars().all(of_a_host) {
        return Order::Invalid("Only valid hostname characters are allowed.".to_owned());
    }
    Order::Create(NewVm {
        label,
        size,
        image,
        region: text("region").unwrap_or_default(),
        given: Given {
            user_data: text("user_data"),
            ..Given::default()
        },
    })
}

fn action(id: u64, body: &Value) -> Order {
    let verb = match body["type"].as_str().unwrap_or_default() {
        "power_on" => Verb::PowerOn,
        "power_off" => Verb::PowerOff,
        "shutdown" => Verb::Shutdown,
        "reboot" => Verb::Reboot,
        "rebuild" => Verb::Rebuild,
        "enable_backups" => {
            return match &body["backup_policy"]["plan"] {
                Value::String(plan) if plan == "daily" => Order::Keep(id, Keeping::Switch(true)),
                _ => Order::Invalid("a plan is sold with daily backups".to_owned()),
            };
        }
        "disable_backups" => return Order::Keep(id, Keeping::Switch(false)),
        "restore" => {
            return match body["image"].as_u64() {
                Some(image) => Order::Keep(id, Keeping::Restore(image)),
                None => Order::Invalid("image is required".to_owned()),
            };
        }
        "resize" => {
            let size = body["size"].as_str().map(str::to_owned);
            return match (size, body["disk"].as_bool()) {
                (Some(size), Some(disk)) => Order::Resize(id, size, disk),
                _ => Order::Invalid("size and disk are required".to_owned()),
            };
        }
        "snapshot" => {
            return match body["name"].as_str() {
                Some(name) if !name.is_empty() => Order::Snapshot(id, name.to_owned()),
                _ => Order::Invalid("name is required".to_owned()),
            };
        }
        other => return Order::Invalid(format!("no action {other:?} here")),
    };
    let image = body["image"]
        .as_str()
        .map(str::to_owned)
        .or_else(|| body["image"].as_u64().map(|n| n.to_string()));
    if verb == Verb::Rebuild && image.is_none() {
        return Order::Invalid("image is required".to_owned());
    }
    if let (Verb::Rebuild, Some(snapshot)) = (verb, body["image"].as_u64()) {
        // An image of its own is a snapshot.
        return Order::Restore(id, snapshot);
    }
    if verb == Verb::Rebuild {
        // It keeps its user data, and takes no other.
        return Order::Rebuild(id, image, Given::default());
    }
    Order::Act(id, verb, None)
}

fn droplet(vm: &Vm) -> Value {
    let status = match (vm.work, vm.busy(), vm.on) {
        (Verb::Create, true, _) => "new",
        // What it was until the action is over.
        (Verb::PowerOff | Verb::Shutdown, true, _) => "active",
        (Verb::PowerOn | Verb::Resize, true, _) => "off",
        (_, _, true) => "active",
        (_, _, false) => "off",
    };
    let v4 = vm.address().map(|address| {
        json!([
            {"ip_address": "10.104.0.2", "netmask": "255.255.240.0", "gateway": "10.104.0.1", "type": "private"},
            {"ip_address": address, "netmask": "255.255.240.0", "gateway": "45.0.0.1", "type": "public"},
        ])
    });
    // Tags come late.
    let tags = if vm.busy() {
        json!([])
    } else {
        json!(["sewa"])
    };
    json!({
        "id": vm.id,
        "name": vm.label,
        "memory": 1024,
        "vcpus": 1,
        "disk": vm.disk,
        "disk_info": [{"type": "local", "size": {"amount": vm.disk, "unit": "gib"}}],
        "locked": vm.busy(),
        "status": status,
        "created_at": "2026-11-21T00:00:00Z",
        "features": ["ipv6", "monitoring"],
        "backup_ids": vm.backups.copies.iter().map(|copy| copy.id).collect::<Vec<_>>(),
        "next_backup_window": null,
        "snapshot_ids": [],
        "volume_ids": [],
        // One of a snapshot is called by a number alone.
        "image": {
            "id": 63_663_980, "name": vm.image, "distribution": "Debian", "slug": (!vm.restored()).then_some(&vm.image), "public": !vm.restored(),
            "regions": [vm.region], "created_at": "2026-01-01T00:00:00Z", "min_disk_size": 7,
            "type": if vm.restored() { "snapshot" } else { "base" }, "size_gigabytes": 2.3, "description": "Debian", "tags": [],
            "status": "available", "error_message": "",
        },
        "size": {
            "slug": vm.size, "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0, "price_monthly": 6.0, "price_hourly": 0.00893, "regions": [vm.region],
            "available": true, "description": "Basic",
        },
        "size_slug": vm.size,
        "networks": {"v4": v4.unwrap_or_else(|| json!([])), "v6": []},
        "region": {"name": "Singapore 1", "slug": vm.region, "features": ["ipv6"], "available": true, "sizes": [vm.size]},
        "tags": tags,
        "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000",
    })
}

fn snapshot(shot: &Shot) -> Value {
    json!({
        "id": shot.id,
        "name": shot.name,
        "created_at": "2026-11-21T00:00:00Z",
        "regions": [shot.disk.region],
        "min_disk_size": shot.disk.disk,
        "size_gigabytes": 2.34,
        "type": "snapshot",
    })
}

/// One in a list: that of a machine has numbers for names, that of all has texts, and says whose they are.
fn listed(shot: &Shot, of_all: bool) -> Value {
    let mut one = snapshot(shot);
    if of_all {
        one["id"] = Value::from(shot.id.to_string());
        one["resource_id"] = Value::from(shot.machine.to_string());
        one["resource_type"] = Value::from("droplet");
        one["tags"] = json!([]);
    }
    one
}

fn refusal(status: u16, id: &str, message: &str) -> Said {
    let body =
        json!({"id": id, "message": message, "request_id": "4d9d8375-3c56-4925-a3e7-eb137fed17e9"});
    Said {
        status,
        body,
        reason: None,
    }
}

fn action_of(vm: &Vm) -> Value {
    json!({"action": {
        "id": vm.id + 9000, "status": "in-progress", "type": "reboot", "started_at": "2026-11-21T00:00:00Z", "completed_at": null,
        "resource_id": vm.id, "resource_type": "droplet", "region_slug": vm.region,
    }})
}

/// How it is answered.
pub fn write(answer: &Answer) -> Said {
    let said = |status, body| Said {
        status,
        body,
        reason: None,
    };
    let unprocessable = |message: &str| refusal(422, "unprocessable_entity", message);
    match answer {
        Answer::Created(vm) => said(
            202,
            json!({"droplet": droplet(vm), "links": {"actions": [{"id": vm.id + 9000, "rel": "create", "href": "https://api.digitalocean.com/v2/actions/1"}]}}),
        ),
        Answer::Shown(vm) => said(200, json!({"droplet": droplet(vm)})),
        Answer::Listed(page, number, size, total) => {
            let mut links = json!({});
            if number * size < *total {
                let next = format!(
                    "https://api.digitalocean.com/v2/droplets?page={}",
                    number + 1
                );
                links = json!({"pages": {"next": next, "last": next}});
            }
            said(
                200,
                json!({"droplets": page.iter().map(droplet).collect::<Vec<_>>(), "links": links, "meta": {"total": total}}),
            )
        }
        Answer::Accepted(vm) => said(201, action_of(vm)),
        Answer::Taken(shot) => said(201, action_of(&shot.disk)),
        Answer::Snapshots(machine, page, number, size, total) => {
            let mut links = json!({});
            if number * size < *total {
                let next = format!(
                    "https://api.digitalocean.com/v2/snapshots?page={}",
                    number + 1
                );
                links = json!({"pages": {"next": next, "last": next}});
            }
            said(
                200,
                json!({"snapshots": page.iter().map(|shot| listed(shot, machine.is_none())).collect::<Vec<_>>(), "links": links, "meta": {"total": total}}),
            )
        }
        Answer::Deleted => said(204, Value::Null),
        Answer::Measured(told) => said(200, told.clone()),
        Answer::Account => said(
            200,
            json!({"account": {
                "droplet_limit": 1000, "floating_ip_limit": 3, "email": "sammy@example.com", "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
                "email_verified": true, "status": "active", "status_message": "",
            }}),
        ),
        Answer::Balance => said(
            200,
            json!({"month_to_date_balance": "23.44", "account_balance": "12.23", "month_to_date_usage": "11.21", "generated_at": "2026-11-21T00:00:00Z"}),
        ),
        Answer::Said(own) => own.clone(),
        Answer::Guarded(..) | Answer::Prices | Answer::NotFound => refusal(
            404,
            "not_found",
            "The resource you were accessing could not be found.",
        ),
        Answer::Busy => unprocessable("Droplet already has a pending event."),
        Answer::Full => {
            unprocessable("creating this/these droplet(s) will exceed your droplet limit")
        }
        Answer::Already => unprocessable("Droplet is already powered on."),
        Answer::LabelTaken | Answer::MustBeOff => unprocessable("You specified an invalid action."),
        Answer::Unauthorized => refusal(401, "unauthorized", "Unable to authenticate you"),
        Answer::TooMany => refusal(429, "too_many_requests", "API Rate limit exceeded."),
        Answer::Broken => refusal(500, "server_error", "Unexpected server-side error"),
        Answer::Invalid(why) => unprocessable(why),
    }
}
