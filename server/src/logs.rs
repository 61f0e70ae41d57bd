//! Where the logs go: to standard error, as text for people or JSON for machines. `RUST_LOG` chooses how much.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::Config;

/// Starts logging.
///
/// # Errors
/// If logging was started before.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,hyper=warn,h2=warn"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if config.log_format == "json" {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.compact().try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))
}
