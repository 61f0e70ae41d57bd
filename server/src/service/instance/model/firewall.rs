//! The rules of firewalls. Pure.

use chrono::{DateTime, Utc};

use crate::base::id::{AccountId, InstanceId, OperationId};
use crate::provider::compute::firewalls::{Entry, Found, Rule, State};

/// Sources that all rules of a firewall may have together: the strictest provider, Vultr, counts each of them as a rule, of which it takes fifty.
pub const SOURCES: usize = 50;

/// What a firewall is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Whether what no rule allows is dropped.
    pub enabled: bool,
    /// What is let in.
    pub rules: Vec<Rule>,
}

/// The firewall of an instance, as our books have it.
#[derive(Clone, Debug)]
pub struct Firewall {
    /// The account.
    pub account: AccountId,
    /// Whose.
    pub instance: InstanceId,
    /// What last worked on it.
    pub operation: OperationId,
    /// What was set.
    pub set: Wish,
    /// When; `None` if it never was.
    pub set_at: Option<DateTime<Utc>>,
    /// What the operation asks for.
    pub asked: Wish,
    /// Whether the provider was last seen to have what was set.
    pub in_force: bool,
    /// False once its instance is gone.
    pub wanted: bool,
    /// Until when somebody changes it.
    pub held_until: Option<DateTime<Utc>>,
    /// Until when one may exist that does not show.
    pub unsure_until: Option<DateTime<Utc>>,
}

/// What comes next for a firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is as it should be.
    Done,
    /// Time.
    Wait,
    /// One is to be made.
    Make,
    /// That one is to be changed.
    Change(String),
    /// Those are to be deleted.
    Delete(Vec<String>),
}

impl Firewall {
    /// What comes next towards a wish, from what the provider shows, oldest first, compared with the wish. The book must have been read before the provider was looked at.
    pub fn next(&self, wish: &Wish, found: &[Found], now: DateTime<Utc>) -> Next {
        let ahead = |until: Option<DateTime<Utc>>| until.is_some_and(|until| now < until);
        let names = |found: &[Found]| found.iter().map(|f| f.firewall_ref.clone()).collect();
        match found {
            // What shows may be about to change.
            _ if ahead(self.held_until) => Next::Wait,
            [] if ahead(self.unsure_until) => Next::Wait,
            [] if wish.enabled => Next::Make,
            [] => Next::Done,
            _ if !wish.enabled => Next::Delete(names(found)),
            [_, twins @ ..] if !twins.is_empty() => Next::Delete(names(twins)),
            [one, ..] => match one.state {
                State::Applied => Next::Done,
                State::Pending => Next::Wait,
                State::Other => Next::Change(one.firewall_ref.clone()),
            },
        }
    }
}

/// A source that another one makes needless: the number of its rule, its own there, and the number of the rule that allows all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needless {
    /// Its rule.
    pub rule: usize,
    /// Its place among the sources of the rule.
    pub source: usize,
    /// The rule that allows all of it.
    pub by: usize,
}

/// The sources that lie wholly in what another one allows. Of several that are the same, the first one counts.
pub fn needless(rules: &[Rule]) -> Vec<Needless> {
    let all: Vec<(usize, usize, Entry)> = rules
        .iter()
        .enumerate()
        .flat_map(|(r, rule)| rule.entries().enumerate().map(move |(s, e)| (r, s, e)))
        .collect();
    let mut found = Vec::new();
    for (at, (rule, source, entry)) in all.iter().enumerate() {
        let by = all.iter().enumerate().find(|(other_at, (_, _, other))| {
            *other_at != at && other.covers(entry) && (!entry.covers(other) || *other_at < at)
        });
        if let Some((_, (by, ..))) = by {
            found.push(Needless {
                rule: *rule,
                source: *source,
                by: *by,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use chrono::Duration;
    use uuid::Uuid;

    use super::*;
    use crate::provider::compute::firewalls::{Network, Protocol};

    fn rule(ports: (u16, u16), sources: &[&str]) -> Rule {
        Rule {
            protocol: Protocol::Tcp,
            first_port: ports.0,
            last_port: ports.1,
            sources: sources.iter().map(|s| Network::parse(s).unwrap()).collect(),
            description: String::new(),
        }
    }

    fn firewall() -> Firewall {
        Firewall {
            account: AccountId(Uuid::nil()),
            instance: InstanceId(Uuid::nil()),
            operation: OperationId(Uuid::nil()),
            set: Wish::default(),
            set_at: None,
            asked: Wish::default(),
            in_force: true,
            wanted: true,
            held_until: None,
            unsure_until: None,
        }
    }

    fn found(names: &[&str], state: State) -> Vec<Found> {
        let one = |name: &&str| Found {
            firewall_ref: (*name).to_owned(),
            state,
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn the_whole_table_of_steps() {
        let now: DateTime<Utc> = "2026-11-22T00:00:00Z".parse().unwrap();
        let open = Wish::default();
        let closed = Wish {
            enabled: true,
            rules: vec![rule((22, 22), &["0.0.0.0/0"])],
        };
        let (one, two) = (["a"].as_slice(), ["a", "b"].as_slice());
        let delete = |names: &[&str]| Next::Delete(names.iter().map(|&n| n.to_owned()).collect());
        let table = [
            (&closed, &[][..], State::Other, Next::Make),
            (&closed, one, State::Applied, Next::Done),
            (&closed, one, State::Pending, Next::Wait),
            (&closed, one, State::Other, Next::Change("a".to_owned())),
            (&closed, two, State::Applied, delete(&["b"])),
            (&open, &[][..], State::Other, Next::Done),
            (&open, one, State::Applied, delete(&["a"])),
            (&open, two, State::Pending, delete(&["a", "b"])),
        ];
        let mut book = firewall();
        for (wish, names, state, next) in &table {
            assert_eq!(book.next(wish, &found(names, *state), now), *next);
        }
        // One that may show up is waited for; what shows is worked on.
        book.unsure_until = Some(now + Duration::seconds(1));
        for (wish, names, state, next) in &table {
            let next = if names.is_empty() { &Next::Wait } else { next };
            assert_eq!(book.next(wish, &found(names, *state), now), *next);
        }
        // What somebody else works on is left alone, whatever shows.
        book.held_until = Some(now + Duration::seconds(1));
        for (wish, names, state, _) in &table {
            assert_eq!(book.next(wish, &found(names, *state), now), Next::Wait);
        }
        let later = now + Duration::seconds(1);
        assert_eq!(book.next(&closed, &[], later), Next::Make);
    }

    #[test]
    fn what_another_rule_allows_is_needless() {
        let at = |rule, source, by| Needless { rule, source, by };
        let all = "0.0.0.0/0";
        for (rules, expected) in [
            (vec![rule((22, 22), &[all, "::/0"])], vec![]),
            (
                vec![rule((22, 22), &[all, "10.0.0.0/8"])],
                vec![at(0, 1, 0)],
            ),
            (
                vec![rule((22, 22), &["10.0.0.0/8", all])],
                vec![at(0, 0, 0)],
            ),
            (vec![rule((22, 22), &[all, all])], vec![at(0, 1, 0)]),
            (
                vec![rule((80, 90), &[all]), rule((80, 80), &[all, "::/0"])],
                vec![at(1, 0, 0)],
            ),
            (
                vec![rule((1, 65535), &["10.0.0.0/8"]), rule((22, 22), &[all])],
                vec![],
            ),
        ] {
            assert_eq!(needless(&rules), expected, "{rules:?}");
        }
    }
}
