//! Consoles as people have them: noVNC itself, in a browser, on a page of another origin. [V3 F1]

use std::path::Path;
use std::process::Command;

use sewa_tests::compute::Dialect;
use sewa_tests::compute::proxmox::console::colour;
use sewa_tests::world::Settings;
use sewa_tests::{Actor, World};

use crate::console::path_to;
use crate::instance::owner_of_a_machine;
use crate::providers::{draft, open_shop, rich_reseller};

/// Looks at a console with noVNC, types, and returns what the page says.
fn shown(world: &World, path: &str, port: u16) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().unwrap();
    let at = |path: &str| root.join(path).to_string_lossy().into_owned();
    let url = format!("{}{path}", world.url().replace("http://", "ws://"));
    let output = Command::new("node")
        .arg(at("tests/browser/console.mjs"))
        .args([url, port.to_string()])
        .args([
            at(".tools/npm/node_modules/@novnc/novnc"),
            at("sdk-typescript/package.json"),
        ])
        .output()
        .unwrap_or_else(|error| panic!("node: {error}; has `make setup` run?"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text.lines().map(str::to_owned).collect()
}

/// A platform that pages of one other origin may call, and the port of that.
async fn world_with_a_page() -> (World, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let origin = format!("http://localhost:{port}");
    let world = World::with(Settings::default().with("CORS_ORIGINS", origin)).await;
    (world, port)
}

async fn look(world: &World, owner: &Actor, id: &str, port: u16) -> Vec<String> {
    let path = path_to(owner, id).await;
    tokio::task::block_in_place(|| shown(world, &path, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn novnc_shows_a_screen_at_proxmox_and_types_at_it() {
    let (world, port) = world_with_a_page().await;
    let shop = open_shop(&world, Dialect::Proxmox).await;
    let budi = rich_reseller(&world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    let shown = look(&world, &budi, &placed.order.instance_id, port).await;
    let pixel = |keys| {
        format!(
            "pixel {}",
            colour(keys).map(|part| part.to_string()).join(",")
        )
    };
    let expected = [
        "connected QEMU (web-1)".to_owned(),
        "size 64x48".to_owned(),
        pixel(0),
        "changed".to_owned(),
        pixel(1),
        "disconnected clean".to_owned(),
        "again: disconnected".to_owned(),
    ];
    assert_eq!(shown, expected);
    let keys = shop.cloud.books().proxmox.screens.keys.clone();
    assert_eq!(keys, [u32::from('s')]);
}

#[tokio::test(flavor = "multi_thread")]
async fn novnc_shows_a_screen_of_the_built_in_cloud() {
    let (world, port) = world_with_a_page().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let shown = look(&world, &budi, &machine.id, port).await;
    let expected = [
        &format!("connected {}", machine.id),
        "size 384x96",
        // The corner, where the first letter is not.
        "pixel 16,20,40",
        "changed",
        "pixel 16,20,40",
        "disconnected clean",
        "again: disconnected",
    ];
    assert_eq!(shown, expected);
}
