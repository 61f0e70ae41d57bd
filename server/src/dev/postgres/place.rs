//! Where the cluster lives, under which user it runs, and who owns it at the moment.
//!
//! Three facts shape this: PostgreSQL refuses to run as root, a unix socket path holds
//! 107 bytes, and only one owner may ever start or stop the cluster of a folder.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use uuid::Uuid;

/// `sun_path` of Linux less its closing zero.
const SOCKET_PATH_LIMIT: usize = 107;
const SOCKET_FILE: &str = ".s.PGSQL.5432";

/// The user and group `nobody`/`nogroup` of Debian, Ubuntu, Alpine and Fedora.
const NOBODY: u32 = 65534;

/// The folders of one cluster, held by a lock until dropped.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    moved: bool,
    socket_dir: PathBuf,
    user: User,
    // An advisory lock on the folder itself. The kernel lets go of it however the owner dies.
    #[cfg_attr(not(test), expect(dead_code, reason = "held, not read"))]
    lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Ourselves,
    Nobody,
}

impl Place {
    /// Makes the folders, gives them to the user that PostgreSQL will run as and locks them.
    pub(super) fn claim(data_dir: &Path) -> anyhow::Result<Self> {
        let user = match rustix::process::geteuid().is_root() {
            true => User::Nobody,
            false => User::Ourselves,
        };
        let data_dir = std::path::absolute(data_dir)
            .with_context(|| format!("cannot resolve {}", data_dir.display()))?;
        let root = match user {
            User::Nobody => reachable_by_nobody(&data_dir)?,
            User::Ourselves => data_dir.clone(),
        };
        let moved = root != data_dir;
        private_dir(&root, user)?;
        let root = root.canonicalize()?;
        let lock = lock(&root)?;
        let socket_dir = socket_dir(&root, user)?;
        Ok(Self {
            root,
            moved,
            socket_dir,
            user,
            lock,
        })
    }

    /// The folder PostgreSQL calls its data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// A name for a cluster in the making; it becomes `cluster()` by one rename.
    pub(super) fn cluster_in_the_making(&self) -> PathBuf {
        self.root.join(format!("initdb-{}", std::process::id()))
    }

    /// What earlier owners were making when they died.
    pub(super) fn sweep_unfinished(&self) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(&self.root)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("initdb-") {
                std::fs::remove_dir_all(entry.path())
                    .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    /// What PostgreSQL has to say goes here.
    pub(super) fn log_file(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// A command that will run as the user PostgreSQL accepts, apart from our process group:
    /// Ctrl-C is for us to handle; the database must outlive the requests we still answer.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        command.current_dir(&self.root).process_group(0);
        if self.user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Lets another owner in, as the kernel does when we die.
    #[cfg(test)]
    pub(super) fn unlock(&self) {
        self.lock.unlock().expect("we hold it");
    }

    /// Removes what is of no use once the server has stopped: a socket folder under /tmp, and
    /// the data too when it is not `kept` and lies where its owner would not look for it.
    pub(super) fn release(&self, kept: bool) {
        // Best effort, both: the next start takes the same folders over.
        if self.socket_dir != self.root {
            let _ = std::fs::remove_dir_all(&self.socket_dir);
        }
        if self.moved && !kept {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

/// Root's own folders are closed to every other user, so the cluster moves to one that is not.
fn reachable_by_nobody(data_dir: &Path) -> anyhow::Result<PathBuf> {
    // Parents that do not exist yet are made now: the umask decides whether they are open.
    if let Some(parent) = data_dir.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let closed = data_dir.ancestors().skip(1).find(|dir| {
        std::fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 == 0 && meta.uid() != NOBODY)
    });
    let Some(closed) = closed else {
        return Ok(data_dir.to_owned());
    };
    let moved = Path::new("/var/tmp").join(stable_name(data_dir));
    tracing::warn!(
        wanted = %data_dir.display(), used = %moved.display(),
        "PostgreSQL does not run as root and user nobody cannot enter {}: its data lives elsewhere",
        closed.display()
    );
    Ok(moved)
}

/// Another name for `path` that is short and the same on every start.
fn stable_name(path: &Path) -> String {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, path.as_os_str().as_encoded_bytes());
    format!("sewa-{}", id.simple())
}

fn socket_dir(root: &Path, user: User) -> anyhow::Result<PathBuf> {
    if root.join(SOCKET_FILE).as_os_str().len() <= SOCKET_PATH_LIMIT {
        return Ok(root.to_owned());
    }
    let short = Path::new("/tmp").join(stable_name(root));
    private_dir(&short, user)?;
    Ok(short)
}

/// A folder nobody but `user` (and root) can look into. In /tmp somebody else may have made it
/// first: then its owner gives it away.
fn private_dir(dir: &Path, user: User) -> anyhow::Result<()> {
    let context = || format!("cannot prepare {}", dir.display());
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).with_context(context)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    let meta = std::fs::symlink_metadata(dir).with_context(context)?;
    let ours = [rustix::process::geteuid().as_raw(), owner(user)];
    ensure!(
        meta.is_dir() && ours.contains(&meta.uid()),
        "{} belongs to user {}, not to us: choose another data folder",
        dir.display(),
        meta.uid()
    );
    ensure!(
        is_empty(dir)? || dir.join("cluster").exists() || dir.join("postgres.log").exists(),
        "{} holds something else than a database: choose another data folder",
        dir.display()
    );
    if user == User::Nobody {
        chown(dir, Some(NOBODY), Some(NOBODY)).with_context(context)?;
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).with_context(context)
}

fn is_empty(dir: &Path) -> anyhow::Result<bool> {
    let mut entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(entries.next().is_none())
}

fn owner(user: User) -> u32 {
    match user {
        User::Ourselves => rustix::process::geteuid().as_raw(),
        User::Nobody => NOBODY,
    }
}

fn lock(root: &Path) -> anyhow::Result<File> {
    let dir = File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    match dir.try_lock() {
        Ok(()) => Ok(dir),
        Err(TryLockError::WouldBlock) => {
            bail!("another process runs the database in {}", root.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", root.display()))
        }
    }
}
