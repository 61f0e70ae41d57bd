//! The rules of reverse DNS. Pure.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use crate::provider::compute::Machine;

/// The name that was set for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The address.
    pub address: IpAddr,
    /// In small letters; empty for the provider's default.
    pub hostname: String,
    /// When it was set; `None` for the default.
    pub set_at: Option<DateTime<Utc>>,
}

/// A name that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The address to name.
    pub address: IpAddr,
    /// In small letters; empty for the provider's default.
    pub hostname: String,
}

/// What comes next for a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The address has its name.
    Done,
    /// Ask the provider for it.
    Ask,
    /// Look again later.
    Wait,
}

impl Wish {
    /// The name; `None` for the provider's default.
    pub fn name(&self) -> Option<&str> {
        (!self.hostname.is_empty()).then_some(self.hostname.as_str())
    }

    /// Whether the address can be the machine's. One that shows no address of this kind at present may still have it.
    pub fn is_of(&self, machine: &Machine) -> bool {
        match self.address {
            IpAddr::V4(ip) => machine.ipv4.is_none_or(|own| own == ip),
            IpAddr::V6(ip) => machine.ipv6.is_none_or(|own| own == ip),
        }
    }

    /// What comes next. `accepted` says that the provider took the wish on; `shown` is the name that the address was seen to have, if anybody looked. What a provider calls its
    /// default cannot be told from other names, so there its word counts.
    pub fn next(&self, accepted: bool, shown: Option<&str>) -> Naming {
        match self.name() {
            Some(name) if shown == Some(name) => Naming::Done,
            None if accepted => Naming::Done,
            Some(_) if accepted => Naming::Wait,
            Some(_) | None => Naming::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::compute::Power;

    fn wish(address: &str, hostname: &str) -> Wish {
        Wish {
            address: address.parse().unwrap(),
            hostname: hostname.to_owned(),
        }
    }

    #[test]
    fn a_name_is_done_when_it_is_seen_and_the_default_when_it_is_accepted() {
        let named = wish("203.0.113.7", "mail.example.com");
        let other = Some("old.example.com");
        let right = Some("mail.example.com");
        let table = [
            (false, None, Naming::Ask),
            (false, other, Naming::Ask),
            (false, right, Naming::Done),
            (true, None, Naming::Wait),
            (true, other, Naming::Wait),
            (true, right, Naming::Done),
        ];
        for (accepted, shown, expected) in table {
            assert_eq!(
                named.next(accepted, shown),
                expected,
                "{accepted} {shown:?}"
            );
        }
        let default = wish("203.0.113.7", "");
        assert_eq!(default.next(false, other), Naming::Ask);
        assert_eq!(default.next(true, other), Naming::Done);
    }

    #[test]
    fn an_address_that_has_moved_on_is_not_the_machines() {
        let mut machine = Machine {
            provider_ref: "m".to_owned(),
            reference: "r".to_owned(),
            size: "small".to_owned(),
            power: Power::Running,
            busy: false,
            ipv4: Some("203.0.113.7".parse().unwrap()),
            ipv6: None,
        };
        assert!(wish("203.0.113.7", "").is_of(&machine));
        assert!(!wish("203.0.113.8", "").is_of(&machine));
        assert!(wish("2001:db8::1", "").is_of(&machine));
        machine.ipv6 = Some("2001:db8::2".parse().unwrap());
        assert!(!wish("2001:db8::1", "").is_of(&machine));
    }
}
