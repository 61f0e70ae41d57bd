//! What machines of a simulated cloud use, and how its dialects tell it. Bytes move when a test says so; speeds and processor time are the same at every moment.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::machines::Vm;

/// Megabits a second received at DigitalOcean, which is a megabyte.
const MEGABITS_IN: f64 = 8.0;
/// The same, sent.
const MEGABITS_OUT: f64 = 16.0;
/// Bits a second received at Linode.
const BITS_IN: f64 = 8000.0;
/// The same, sent.
const BITS_OUT: f64 = 16_000.0;
/// The memory of every machine, in bytes.
const MEMORY: u64 = 1 << 30;
/// How much of it is in use.
const USED: u64 = 400 << 20;
/// How much of a processor is in use.
pub const CPU: f64 = 0.25;
/// Between two points at DigitalOcean.
const DOTS: TimeDelta = TimeDelta::minutes(2);

/// What a machine has used.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Bytes received since it was powered on.
    pub received: u64,
    /// Bytes sent since it was powered on.
    pub sent: u64,
    /// Bytes received in the present month, which no start changes.
    pub month_received: u64,
    /// Bytes sent in the present month.
    pub month_sent: u64,
    /// When it was powered on.
    pub on_since: Instant,
    /// Since when it is measured. A test that has no time sets it back.
    pub measured_since: DateTime<Utc>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            month_received: 0,
            month_sent: 0,
            on_since: Instant::now(),
            measured_since: Utc::now(),
        }
    }
}

impl Usage {
    /// Bytes move.
    pub fn moves(&mut self, received: u64, sent: u64) {
        self.received += received;
        self.sent += sent;
        self.month_received += received;
        self.month_sent += sent;
    }

    /// Its power came, or went: it counts from nothing.
    pub fn restart(&mut self) {
        (self.received, self.sent) = (0, 0);
        self.on_since = Instant::now();
    }
}

/// What is asked of what a machine uses.
#[derive(Clone, Debug)]
pub enum Measure {
    /// A metric of DigitalOcean's, with its direction, from and to a time in seconds.
    Metric(String, String, i64, i64),
    /// Statistics of the last day.
    Stats,
    /// Bytes of a year's month.
    Transfer(i32, u32),
    /// Bytes by days.
    Days,
}

/// The answer.
pub fn told(vm: &Vm, measure: &Measure) -> Value {
    let now = Utc::now();
    match measure {
        Measure::Metric(name, direction, start, end) => metric(vm, name, direction, *start, *end),
        Measure::Stats => stats(vm, now),
        Measure::Transfer(year, month) => {
            let present = now.format("%Y-%m").to_string() == format!("{year}-{month:02}");
            let (received, sent) = if present {
                (vm.usage.month_received, vm.usage.month_sent)
            } else {
                (0, 0)
            };
            json!({"bytes_in": received, "bytes_out": sent, "bytes_total": received + sent})
        }
        Measure::Days => {
            let today = now.format("%Y-%m-%d").to_string();
            let moved = json!({"incoming_bytes": vm.usage.month_received, "outgoing_bytes": vm.usage.month_sent});
            json!({"bandwidth": {today: moved}})
        }
    }
}

/// Points on whole multiples of a span, while the machine was measured and within what is asked for.
fn dots(vm: &Vm, span: TimeDelta, start: i64, end: i64) -> Vec<i64> {
    let (step, since) = (span.num_seconds(), vm.usage.measured_since.timestamp());
    let first = start.max(since).div_euclid(step) + 1;
    let last = end.min(Utc::now().timestamp()).div_euclid(step);
    (first..=last).map(|n| n * step).collect()
}

fn metric(vm: &Vm, name: &str, direction: &str, start: i64, end: i64) -> Value {
    let dots = dots(vm, DOTS, start, end);
    let series = |mode: Option<&str>, value: &dyn Fn(i64) -> f64| {
        let values: Vec<Value> = dots
            .iter()
            .map(|at| json!([at, value(*at).to_string()]))
            .collect();
        let mut metric = json!({"host_id": vm.id.to_string()});
        if let Some(mode) = mode {
            metric["mode"] = Value::from(mode);
        }
        json!({"metric": metric, "values": values})
    };
    let result = match (name, direction) {
        ("cpu", _) => {
            let passed = |at: i64| (at - vm.usage.measured_since.timestamp()) as f64;
            vec![
                series(Some("idle"), &|at| passed(at) * (1.0 - CPU)),
                series(Some("user"), &|at| passed(at) * CPU),
            ]
        }
        ("memory_total", _) => vec![series(None, &|_| MEMORY as f64)],
        ("memory_available", _) => vec![series(None, &|_| (MEMORY - USED) as f64)],
        (_, "inbound") => vec![series(None, &|_| MEGABITS_IN)],
        _ => vec![series(None, &|_| MEGABITS_OUT)],
    };
    json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
}

fn stats(vm: &Vm, now: DateTime<Utc>) -> Value {
    let start = (now - TimeDelta::hours(24)).timestamp();
    let dots = dots(vm, TimeDelta::minutes(5), start, now.timestamp());
    let points =
        |value: f64| -> Vec<Value> { dots.iter().map(|at| json!([at * 1000, value])).collect() };
    let net = |received: f64, sent: f64| json!({"in": points(received), "out": points(sent), "private_in": points(1.0), "private_out": points(1.0)});
    json!({
        "cpu": points(CPU * 100.0),
        "io": {"io": points(0.19), "swap": points(0.0)},
        "netv4": net(BITS_IN, BITS_OUT),
        "netv6": net(0.0, 0.0),
        "title": format!("linode.com - {} (linode{}) - day (5 min avg)", vm.label, vm.id),
    })
}
