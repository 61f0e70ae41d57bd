//! Clusters of our own, whoever's software runs them: what decides where a machine is put. Pure.

use crate::provider::compute::ProviderError;

/// A size: `2c-4096m-80g` is 2 vCPUs, 4096 MiB of memory and a disk of 80 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// vCPUs, 1 to 512.
    pub vcpus: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Disk.
    pub disk_gib: u32,
}

impl Size {
    /// By its name.
    ///
    /// # Errors
    /// `Refused` if the name is not of that form.
    pub fn parse(name: &str) -> Result<Self, ProviderError> {
        let read = || {
            let mut parts = name.split('-');
            let mut next = |unit| parts.next()?.strip_suffix(unit)?.parse::<u32>().ok();
            let size = Self {
                vcpus: next('c')?,
                memory_mib: next('m')?,
                disk_gib: next('g')?,
            };
            let whole = parts.next().is_none();
            let bounds = (1..=512).contains(&size.vcpus) && size.memory_mib >= 16;
            (whole && bounds && size.disk_gib >= 1).then_some(size)
        };
        read().ok_or_else(|| {
            ProviderError::Refused(format!("{name:?} is no size; one is 2c-4096m-80g"))
        })
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("{}c-{}m-{}g", self.vcpus, self.memory_mib, self.disk_gib)
    }
}

/// A guest as the cluster lists it. What a list says of the power may be some seconds old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number, unique in the cluster; 0 where guests have none.
    pub vmid: u32,
    /// Where it is.
    pub node: String,
    /// Its name. A new guest has none for some seconds.
    pub name: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// True of a template.
    pub template: bool,
    /// True of a virtual machine, false of a container.
    pub machine: bool,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is being worked on.
    pub locked: bool,
    /// vCPUs.
    pub vcpus: u32,
    /// Memory it may have.
    pub memory_mib: u32,
    /// Its boot disk.
    pub disk_gib: u32,
}

/// A cluster, as it is now.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Every guest that is no template, ours or not.
    pub guests: Vec<Entry>,
    /// Templates.
    pub templates: Vec<Template>,
}

/// A hypervisor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it answers its cluster.
    pub online: bool,
    /// Processors.
    pub cpus: u32,
    /// How much of them is used, 0 to 1.
    pub cpu: f64,
    /// Memory it has.
    pub memory_mib: i64,
    /// Memory that is used.
    pub used_mib: i64,
    /// Seconds since it booted.
    pub uptime_seconds: i64,
    /// True where its processors, its memory and what is used of them are not told: all of these are 0 then, which bounds nothing.
    pub unmeasured: bool,
    /// What it can store guests on.
    pub storages: Vec<Storage>,
}

/// A place for disks, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_gib: i64,
    /// How much of it is used.
    pub used_gib: i64,
    /// Whether other nodes share it.
    pub shared: bool,
}

/// Something machines are cloned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, which images are mapped to.
    pub name: String,
    /// Its number; 0 where templates have none.
    pub vmid: u32,
    /// Where it is. Machines of it are made there.
    pub node: String,
    /// Where its disk is, and theirs will be.
    pub storage: String,
    /// Its disk.
    pub disk_gib: u32,
}
