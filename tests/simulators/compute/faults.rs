//! How a cloud misbehaves: a fault falls to one call, of one verb, on one machine.

/// What can be asked of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Make it.
    Create,
    /// Power it on.
    PowerOn,
    /// Cut its power.
    PowerOff,
    /// Ask its guest to shut down.
    Shutdown,
    /// Restart it.
    Reboot,
    /// Make its disk anew.
    Rebuild,
    /// Set its password.
    ResetPassword,
    /// Give it another size.
    Resize,
    /// Copy its disk.
    Snapshot,
    /// Put its disk back.
    Restore,
    /// Delete a copy of its disk.
    DeleteSnapshot,
    /// Begin or end to take backups of it.
    SwitchBackups,
    /// Put its disk back to a backup.
    RestoreBackup,
    /// Name one of its addresses.
    SetReverseDns,
    /// Put a firewall in front of it.
    CreateFirewall,
    /// Let other traffic through that.
    ChangeFirewall,
    /// Take it away.
    DeleteFirewall,
    /// Destroy it.
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Create,
        Self::PowerOn,
        Self::PowerOff,
        Self::Shutdown,
        Self::Reboot,
        Self::Rebuild,
        Self::ResetPassword,
        Self::Resize,
        Self::Snapshot,
        Self::Restore,
        Self::DeleteSnapshot,
        Self::SwitchBackups,
        Self::RestoreBackup,
        Self::SetReverseDns,
        Self::CreateFirewall,
        Self::ChangeFirewall,
        Self::DeleteFirewall,
        Self::Delete,
    ];
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No effect and no answer for ten minutes.
    HangBefore,
    /// The effect, and no answer for ten minutes.
    HangAfter,
    /// No effect, and the connection breaks.
    LostBefore,
    /// The effect, and the connection breaks.
    Lost,
    /// The call arrives twice, and the second answer is given.
    Twice,
    /// The effect, and an answer after six seconds.
    Late,
    /// Refused for asking too often, without effect.
    TooMany,
    /// A failure of the server, without effect.
    FailsBefore,
    /// A failure of the server, after the effect.
    FailsAfter,
    /// The effect, and an answer that is no JSON.
    Nonsense,
    /// Refused because the machine is being worked on.
    WrongState,
    /// Refused because there is no room. For creations and new sizes.
    Full,
    /// What the call is about is gone, the machine or the snapshot: before the call, or right after its creation.
    Vanish,
}

impl Fault {
    /// Those that every call can meet.
    pub const ALL: [Self; 12] = [
        Self::HangBefore,
        Self::HangAfter,
        Self::LostBefore,
        Self::Lost,
        Self::Twice,
        Self::Late,
        Self::TooMany,
        Self::FailsBefore,
        Self::FailsAfter,
        Self::Nonsense,
        Self::WrongState,
        Self::Vanish,
    ];
}
