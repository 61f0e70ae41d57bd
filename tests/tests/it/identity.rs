//! People and keys.

use sewa_tests::World;

#[tokio::test]
async fn a_reseller_registers_and_is_signed_in() {
    let world = World::new().await;
    let budi = world.reseller().await;
    assert_eq!(budi.balance().await, (0, 0));
}
