//! Finds a PostgreSQL to run.
//!
//! A cluster can only be opened by the major version that made it, so an existing
//! folder decides first and the newest version found serves every new one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Oldest major version the migrations are tested with.
const OLDEST_MAJOR: u32 = 15;

/// Where Debian and Ubuntu keep one folder per major version, none of them on PATH.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

const HOW_TO_INSTALL: &str = "install PostgreSQL 15 or newer (Debian: apt-get install postgresql), \
     or run tools/setup, which needs no privileges, and point the server at the folder with initdb and postgres";

/// One installed PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    /// `None`: the programs are looked up on PATH by the operating system.
    dir: Option<PathBuf>,
    pub(super) major: u32,
}

impl Binaries {
    /// Chooses the binaries for a cluster made by `cluster_major`, or for a new one.
    pub(super) fn find(bin_dir: Option<&Path>, cluster_major: Option<u32>) -> anyhow::Result<Self> {
        let found = match bin_dir {
            Some(dir) => vec![
                Self::probe(Some(dir.to_owned()))
                    .with_context(|| format!("no PostgreSQL in {}", dir.display()))?,
            ],
            None => Self::installed(),
        };
        choose(found, cluster_major)
    }

    /// The path of one of the programs, or its bare name when PATH leads to it.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        match &self.dir {
            Some(dir) => dir.join(name),
            None => PathBuf::from(name),
        }
    }

    /// Everything in the usual places, best first.
    fn installed() -> Vec<Self> {
        let mut debian: Vec<Self> = std::fs::read_dir(DEBIAN_ROOT)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Self::probe(Some(entry.path().join("bin"))).ok())
            .collect();
        debian.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
        Self::probe(None).into_iter().chain(debian).collect()
    }

    fn probe(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut candidate = Self { dir, major: 0 };
        // A distribution may ship clients alone: both programs have to be there.
        let server = version_of(candidate.program("postgres").as_os_str())?;
        version_of(candidate.program("initdb").as_os_str())?;
        candidate.major = server;
        Ok(candidate)
    }
}

fn choose(found: Vec<Binaries>, cluster_major: Option<u32>) -> anyhow::Result<Binaries> {
    let wanted = |binaries: &Binaries| match cluster_major {
        Some(major) => binaries.major == major,
        None => binaries.major >= OLDEST_MAJOR,
    };
    let majors: Vec<u32> = found.iter().map(|binaries| binaries.major).collect();
    match (found.into_iter().find(wanted), cluster_major) {
        (Some(binaries), _) => Ok(binaries),
        (None, None) if majors.is_empty() => bail!("PostgreSQL not found: {HOW_TO_INSTALL}"),
        (None, None) => bail!("found only PostgreSQL {majors:?}: {HOW_TO_INSTALL}"),
        (None, Some(major)) => bail!(
            "the data was written by PostgreSQL {major}, but only {majors:?} is installed: \
             install that version, or remove the data folder to start empty"
        ),
    }
}

fn version_of(program: &OsStr) -> anyhow::Result<u32> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    major_in(&text).with_context(|| format!("{} has no version: {text:?}", program.display()))
}

/// Reads 15 out of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major_in(version: &str) -> Option<u32> {
    let number = version.split_once(") ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(majors: &[u32]) -> Vec<Binaries> {
        let one = |&major| Binaries { dir: None, major };
        majors.iter().map(one).collect()
    }

    #[test]
    fn versions_are_read_from_every_vendor() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(major_in(debian), Some(15));
        assert_eq!(major_in("initdb (PostgreSQL) 18.4\n"), Some(18));
        assert_eq!(major_in("postgres (PostgreSQL) 19beta2\n"), Some(19));
        assert_eq!(major_in("command not found"), None);
    }

    #[test]
    fn a_new_cluster_takes_the_first_version_that_is_recent_enough() {
        assert_eq!(choose(binaries(&[14, 17, 16]), None).unwrap().major, 17);
        let error = choose(binaries(&[14]), None).unwrap_err().to_string();
        assert!(error.contains("only PostgreSQL [14]"), "{error}");
    }

    #[test]
    fn an_existing_cluster_keeps_its_version() {
        assert_eq!(choose(binaries(&[18, 15]), Some(15)).unwrap().major, 15);
        let error = choose(binaries(&[18]), Some(15)).unwrap_err().to_string();
        assert!(error.contains("written by PostgreSQL 15"), "{error}");
    }

    #[test]
    fn a_machine_without_postgres_is_told_what_to_install() {
        let error = choose(Vec::new(), None).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }
}
