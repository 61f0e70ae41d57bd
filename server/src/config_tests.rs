//! Tests of the settings.

use crate::config::Config;

#[test]
fn limits_of_rest_are_read_and_checked() {
    let file = std::env::temp_dir().join(format!("sewa-rest-limits-{}", std::process::id()));
    std::fs::write(&file, "[rest]\nbody_bytes = 2048\njson_depth = 300\n").unwrap();
    let config = Config::read(Some(&file)).unwrap();
    std::fs::write(&file, "[rest]\nbody_size = 1\n").unwrap();
    let mistyped = Config::read(Some(&file)).unwrap_err().to_string();
    std::fs::remove_file(&file).unwrap();
    let gateway = config.rest.gateway();
    assert_eq!(gateway.limits.body_bytes, 2048);
    assert_eq!(gateway.limits.query_keys, 1000, "the rest stays as it was");
    let problems = config.check().unwrap_err().join("\n");
    assert!(
        problems.contains("rest.json_depth must be 8 to 256, not 300"),
        "{problems}"
    );
    assert!(!problems.contains("rest.body_bytes"), "{problems}");
    assert!(mistyped.contains("body_size"), "{mistyped}");
}
