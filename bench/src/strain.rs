//! What customers notice when there are too many of them, or something is away: how long they wait at half of what is possible (P12), what is done and refused at
//! three times as much (P13), and how soon all is as before when the server or PostgreSQL was killed (P22).

use std::time::{Duration, Instant};

use crate::goals::{line, line_at_most, shot, spread_at_most};
use crate::load;
use crate::open::{self, Answers};
use crate::platform::{ACCOUNTS, Platform, Server};
use crate::{Plan, baseline};

/// Calls in flight where the rate is greatest.
const AT_PEAK: usize = 512;
/// Seconds of a run that are not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// Rates are looked at in steps of this length.
const STEP: Duration = Duration::from_millis(250);

pub(crate) async fn run(plan: Plan, wanted: &impl Fn(&[&str]) -> bool) -> anyhow::Result<()> {
    let mut platform = Platform::start("strain").await?;
    baseline::prepare(&platform).await?;
    platform.populate().await?;
    let server = platform.serve("api").await?;
    let peak = peak(&platform, &server, plan).await?;
    println!("  peak: {peak:.0} orders/s with {AT_PEAK} in flight");
    if wanted(&["P12"]) {
        waits(&platform, &server, plan, peak).await?;
    }
    if wanted(&["P13"]) {
        overload(&platform, &server, plan, peak).await?;
    }
    if wanted(&["P22"]) {
        comes_back(&mut platform, server, plan, peak).await?;
    }
    crate::goals::prove(&platform)
}

async fn peak(platform: &Platform, server: &Server, plan: Plan) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..plan.pairs {
        platform.settle().await?;
        let run = load::run(server.port, shot(ACCOUNTS, 1), AT_PEAK, plan.seconds).await?;
        rates.push(run.rate);
    }
    Ok(crate::measure::spread(&rates).0)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// At half of the greatest rate, with a checkpoint in the middle.
async fn waits(platform: &Platform, server: &Server, plan: Plan, peak: f64) -> anyhow::Result<()> {
    let (mut to_median, mut to_updates, mut worst) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..plan.pairs {
        platform.settle().await?;
        let updates = baseline::wait_of_updates(platform, peak / 2.0, plan.seconds)?;
        platform.settle().await?;
        let offering = open::offer(server.port, shot(ACCOUNTS, 1), peak / 2.0, plan.seconds);
        let checkpoint = async {
            tokio::time::sleep(Duration::from_secs(plan.seconds / 2)).await;
            platform.settle().await
        };
        let (answers, checkpoint) = tokio::join!(offering, checkpoint);
        let answers = answers?;
        checkpoint?;
        let at = |share| answers.within(share, true, WARM_UP);
        let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
        println!(
            "  P12: p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms; updates of pgbench p99 {:.1} ms{}",
            millis(p50),
            millis(p99),
            millis(most),
            millis(updates),
            others(&answers)
        );
        to_median.push(p99.as_secs_f64() / p50.as_secs_f64());
        to_updates.push(p99.as_secs_f64() / updates.as_secs_f64());
        worst = worst.max(most);
    }
    spread_at_most("P12 p99 to p50", &to_median, 5.0);
    spread_at_most("P12 p99 to that of one-row updates", &to_updates, 2.0);
    line_at_most("P12 longest ms", millis(worst), 1000.0);
    Ok(())
}

/// What became of calls that were not done.
fn others(answers: &Answers) -> String {
    let mut text = String::new();
    for (words, count) in &answers.refusals {
        text += &format!("; {count} refused with {words}");
    }
    if answers.held_back > 0 {
        text += &format!("; {} held back", answers.held_back);
    }
    if answers.unheard > 0 {
        text += &format!("; {} never answered", answers.unheard);
    }
    text
}

/// Three times what is possible.
async fn overload(
    platform: &Platform,
    server: &Server,
    plan: Plan,
    peak: f64,
) -> anyhow::Result<()> {
    let (mut shares, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..plan.pairs {
        platform.settle().await?;
        let answers = open::offer(server.port, shot(ACCOUNTS, 1), peak * 3.0, plan.seconds).await?;
        let goodput = answers.done_between(WARM_UP, Duration::from_secs(plan.seconds));
        let refused = answers.within(0.99, false, WARM_UP);
        println!(
            "  P13: {goodput:.0} of {:.0}/s done within {:.0} ms, refused within {:.0} ms (p50 {:.0} ms); {:.0} MiB{}",
            peak * 3.0,
            millis(answers.within(0.99, true, WARM_UP)),
            millis(refused),
            millis(answers.within(0.5, false, WARM_UP)),
            server.memory().peak,
            others(&answers)
        );
        shares.push(goodput / peak);
        slow.push(millis(refused));
    }
    line("P13 goodput", &shares, 0.85);
    spread_at_most("P13 refused within ms", &slow, 50.0);
    Ok(())
}

/// The first moment, seen from `from`, from which on a whole second of calls is done at 95 % of a rate.
fn as_before(answers: &Answers, rate: f64, from: Duration, end: Duration) -> Option<Duration> {
    let mut at = from;
    while at + 4 * STEP <= end {
        let steps =
            (0..4).all(|n| answers.done_between(at + n * STEP, at + (n + 1) * STEP) >= rate * 0.9);
        if steps && answers.done_between(at, at + 4 * STEP) >= rate * 0.95 {
            return Some(at - from);
        }
        at += STEP;
    }
    None
}

async fn comes_back(
    platform: &mut Platform,
    server: Server,
    plan: Plan,
    peak: f64,
) -> anyhow::Result<()> {
    let mut server = server;
    let mut first = Vec::new();
    for _ in 0..plan.pairs {
        let one = shot(1, 1);
        let killed = Instant::now();
        drop(server);
        // A supervisor that starts it again at once.
        server = platform.serve("api").await?;
        while load::once(server.port, &one).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        first.push(killed.elapsed().as_secs_f64());
    }
    spread_at_most("P22 s from kill -9 to the first order", &first, 2.0);
    let mut back = Vec::new();
    for _ in 0..plan.pairs {
        let (rate, seconds) = (peak / 2.0, 20);
        let offering = open::offer(server.port, shot(ACCOUNTS, 1), rate, seconds);
        let began = Instant::now();
        let restarting = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let asked = began.elapsed();
            platform.restart().await?;
            anyhow::Ok((asked, began.elapsed()))
        };
        let (answers, restarted) = tokio::join!(offering, restarting);
        let (answers, (asked, there)) = (answers?, restarted?);
        let before = answers.done_between(Duration::from_secs(2), asked);
        let took = as_before(
            &answers,
            before.min(rate),
            asked,
            Duration::from_secs(seconds),
        );
        println!(
            "  P22: PostgreSQL away for {:.1} s; {before:.0}/s before{}",
            (there - asked).as_secs_f64(),
            others(&answers)
        );
        back.push(took.map_or(f64::from(u32::MAX), |took| took.as_secs_f64()));
    }
    spread_at_most(
        "P22 s from the restart of PostgreSQL to 95 % of the rate",
        &back,
        5.0,
    );
    drop(server);
    Ok(())
}
