//! The contract from the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use crate::compare;

/// What can be done with the contract.
#[derive(Subcommand)]
pub enum Command {
    /// Report what in NEW breaks callers of OLD and `buf breaking` does not see: REST bindings, validation, permissions, error reasons, deadlines and more.
    /// Exits with 0 if nothing does, 1 if something does, 2 if they cannot be compared.
    Compare {
        /// A descriptor set (`buf build --as-file-descriptor-set -o old.binpb`) of the version callers have.
        old: PathBuf,
        /// One of the version they will get.
        new: PathBuf,
        /// Print a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command.
pub fn run(command: &Command) -> ExitCode {
    let Command::Compare { old, new, json } = command;
    match findings(old, new) {
        Ok(findings) if *json => {
            println!("{}", serde_json::json!(findings));
            code(&findings)
        }
        Ok(findings) => {
            for finding in &findings {
                println!(
                    "{}: {}: {}: {}",
                    finding.position, finding.rule, finding.place, finding.message
                );
            }
            code(&findings)
        }
        Err(error) => {
            eprintln!("sewa: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn code(findings: &[compare::Finding]) -> ExitCode {
    ExitCode::from(u8::from(!findings.is_empty()))
}

fn findings(old: &Path, new: &Path) -> anyhow::Result<Vec<compare::Finding>> {
    let load = |path: &Path| {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        compare::load(&bytes).with_context(|| path.display().to_string())
    };
    Ok(compare::compare(&load(old)?, &load(new)?))
}
