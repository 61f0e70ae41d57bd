//! Sandbox: model to contract.

use sewa_sdk::sewa::sandbox::v1 as proto;

use crate::base::time;
use crate::service::lifecycle::clock::TestClock;
use crate::service::wallet::deposit::DepositState;

/// A clock.
pub fn clock(c: &TestClock) -> proto::TestClock {
    let state = if c.target_at > c.now_at {
        proto::test_clock::State::Advancing
    } else {
        proto::test_clock::State::Ready
    };
    proto::TestClock {
        now_time: Some(time::to_proto(c.now_at)),
        target_time: Some(time::to_proto(c.target_at)),
        state: state as i32,
    }
}

/// How a deposit is to end; the edge lets no other value pass.
pub fn outcome(outcome: proto::settle_deposit_request::Outcome) -> DepositState {
    match outcome {
        proto::settle_deposit_request::Outcome::Paid => DepositState::Paid,
        proto::settle_deposit_request::Outcome::Expired => DepositState::Expired,
        proto::settle_deposit_request::Outcome::Failed
        | proto::settle_deposit_request::Outcome::Unspecified => DepositState::Failed,
    }
}
