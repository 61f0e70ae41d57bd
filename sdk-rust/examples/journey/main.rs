//! The demonstration: a reseller's day on a sandbox account, from nothing to a machine and back. Nothing here costs money, and everything goes the way it does
//! in earnest.
//!
//! Each step says what it asks for, then what it read back from the platform, and fails if that is not what was promised. A server that is killed and started
//! again on the way only makes it slower: the SDK repeats calls with their idempotency keys, and whatever is waited for is waited for again.
//!
//! `cargo run -p sewa-sdk --example journey -- http://127.0.0.1:7070`. `sewa dev --demo` plays the same file.

mod account;
mod machine;
mod money;
mod shop;
mod stage;
mod time;

use std::process::ExitCode;

use sewa_sdk::Error;

use stage::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let endpoint = std::env::args().nth(1);
    match play(endpoint.as_deref().unwrap_or("http://127.0.0.1:7070")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays it against a server.
///
/// # Errors
/// The first step whose outcome was not the promised one, or whose call failed.
pub async fn play(endpoint: &str) -> Result<(), Error> {
    let stage = &mut Stage::new(endpoint)?;
    account::register(stage, endpoint).await?;
    let goods = shop::choose(stage).await?;
    // Three periods can be paid from four net prices, tax included; a fourth cannot.
    money::top_up(stage, 4 * goods.net_price).await?;
    time::create_clock(stage).await?;

    let total = shop::quote(stage, &goods).await?;
    let bought = shop::buy(stage, &goods, total).await?;
    machine::inspect(stage, &bought.instance_id, total).await?;
    shop::repeat(stage, &bought).await?;

    machine::power_cycle(stage, &bought.instance_id).await?;
    machine::rebuild(stage, &bought.instance_id, &goods.other_image_id).await?;

    shop::lose_next_answer(stage).await?;
    let spare = shop::buy_despite_lost_answer(stage, &goods, total).await?;
    machine::delete(stage, &spare).await?;

    time::renew(stage, &bought.instance_id).await?;
    time::run_out_of_money(stage, &bought.instance_id).await?;
    time::suspend(stage, &bought.instance_id).await?;
    time::pay_and_resume(stage, &bought.instance_id, 3 * goods.net_price).await?;

    let held = time::pay_ahead(stage, &bought.instance_id).await?;
    machine::delete(stage, &bought.instance_id).await?;
    time::release(stage, &bought.instance_id, held).await?;

    money::prove(stage).await?;
    money::statement(stage).await?;
    println!("\nEvery step was observed.");
    Ok(())
}
