//! Starts a language's runner and talks to it, a line each way for each case.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// A runner that says nothing for this long is stuck; no case is meant to take a tenth of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// One line of `runners.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The language.
    pub name: String,
    /// Where the commands run, from the root of the repository.
    pub folder: String,
    /// Builds the runner; may be empty.
    pub build: String,
    /// Runs it.
    pub run: String,
    /// What it speaks: `grpc`, `grpc-web`.
    pub transports: Vec<String>,
}

/// Reads the table of runners.
///
/// # Errors
/// If a line has not five columns.
pub fn table(text: &str) -> anyhow::Result<Vec<Entry>> {
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<_> = line.split('|').map(|part| part.trim().to_owned()).collect();
            let [name, folder, build, run, transports]: [String; 5] = columns
                .try_into()
                .map_err(|_| anyhow::anyhow!("not five columns: {line}"))?;
            let transports = transports.split_whitespace().map(str::to_owned).collect();
            Ok(Entry {
                name,
                folder,
                build,
                run,
                transports,
            })
        })
        .collect()
}

/// A runner at work.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    said: Arc<Mutex<String>>,
}

impl Entry {
    fn shell(&self, root: &Path, command: &str) -> Command {
        let tools = root.join(".tools/bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", command])
            .current_dir(root.join(&self.folder))
            .env("PATH", format!("{}:{path}", tools.display()))
            .kill_on_drop(true);
        for name in ["SEWA_API_KEY", "SEWA_TOKEN", "SEWA_API_KEY_FILE"] {
            shell.env_remove(name);
        }
        shell
    }

    /// Builds and starts the runner.
    ///
    /// # Errors
    /// If it does not build or start: a runner in the table has to run.
    pub async fn start(&self, root: &Path) -> anyhow::Result<Runner> {
        if !self.build.is_empty() {
            let built = self.shell(root, &self.build).output().await?;
            anyhow::ensure!(
                built.status.success(),
                "the runner of {} does not build (has `make setup` run?):\n{}",
                self.name,
                String::from_utf8_lossy(&built.stderr)
            );
        }
        let mut child = self
            .shell(root, &format!("exec {}", self.run))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let mut errors = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = errors.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Ok(Runner {
            child,
            requests,
            answers,
            said,
        })
    }
}

impl Runner {
    /// Has it do one case.
    ///
    /// # Errors
    /// If it ends, hangs, or says what is no JSON.
    pub async fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        self.requests
            .write_all(format!("{request}\n").as_bytes())
            .await
            .context("the runner has ended")?;
        let line = timeout(PATIENCE, self.answers.next_line())
            .await
            .context("the runner is stuck")??
            .context("the runner has ended")?;
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }

    /// What it wrote to stderr since it was asked for it last.
    pub fn said(&self) -> String {
        std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it by closing its input.
    ///
    /// # Errors
    /// If it does not end, or not well.
    pub async fn end(self) -> anyhow::Result<()> {
        let Self {
            mut child,
            requests,
            ..
        } = self;
        drop(requests);
        let status = timeout(PATIENCE, child.wait())
            .await
            .context("the runner does not end when its input does")??;
        anyhow::ensure!(status.success(), "the runner ended with {status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let read = table("# a comment\n\nzig | sdk-zig | make x | ./x -y | grpc grpc-web\n").unwrap();
        assert_eq!(read[0].run, "./x -y");
        assert_eq!(read[0].transports, ["grpc", "grpc-web"]);
        assert!(table("zig | sdk-zig | make x").is_err());
    }
}
