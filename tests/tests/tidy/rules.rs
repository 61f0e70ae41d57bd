//! The rules as pure functions: a file in, what is wrong with it out.

/// Slices from the bottom up. A slice may call those before it; news travels the other way by
/// events. It is the order in which rows are locked, too, so slices cannot deadlock each other.
pub(crate) const RANK: &[&str] = &[
    "identity",
    "billing",
    "catalog",
    "promotion",
    "wallet",
    "operation",
    "provider",
    "hypervisor",
    "instance",
    "lifecycle",
    "inventory",
    "order",
    "invoice",
    "report",
    "event",
    "sandbox",
    "meta",
];

/// Names that say nothing about what is inside.
const BANNED_WORDS: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "manager", "wrapper", "misc",
];

/// What a layer of a slice is called, and the names it is not.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "model",
        &["types", "entity", "entities", "domain", "models"],
    ),
    ("store", &["db", "sql", "queries", "repository", "dao"]),
    (
        "rpc",
        &["grpc", "api", "handler", "handlers", "service", "server"],
    ),
    (
        "convert",
        &["dto", "mapping", "mapper", "proto", "conversions"],
    ),
    ("error", &["errors"]),
    ("job", &["jobs", "worker", "workers", "background"]),
];

const MAX_LINES: usize = 500;

/// One file of the repository.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// `file:line: what is wrong`.
pub(crate) type Finding = String;

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn at(&self, line: usize, message: impl std::fmt::Display) -> Finding {
        format!("{}:{line}: {message}", self.path)
    }

    fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }

    /// Unit tests that have a file of their own.
    fn is_test(&self) -> bool {
        self.stem() == "tests" || self.stem().ends_with("_tests")
    }

    /// The slice this file belongs to, and its path within the slice.
    fn in_slice(&self) -> Option<(&str, &str)> {
        self.path
            .strip_prefix("server/src/service/")?
            .split_once('/')
    }

    /// Lines that the product runs: numbered, without comments, up to the unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.is_test();
        self.text
            .lines()
            .take_while(move |line| !is_test && line.trim() != "#[cfg(test)]")
            .enumerate()
            .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    fn lines_with(&self, words: &[&str], message: &str) -> Vec<Finding> {
        self.code()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            .map(|(number, line)| self.at(number, format!("{message}: {}", line.trim())))
            .collect()
    }
}

pub(crate) fn layers_have_their_names(source: &Source) -> Vec<Finding> {
    let Some((slice, within)) = source.in_slice() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if !RANK.contains(&slice) {
        findings.push(source.at(1, format!("slice {slice} has no rank: add it to RANK")));
    }
    if within.contains('/') && !LAYERS.iter().any(|(layer, _)| within.starts_with(layer)) {
        findings.push(source.at(1, "a slice is flat: only a layer may become a folder"));
    }
    for (layer, wrong) in LAYERS {
        if wrong.contains(&source.stem()) {
            findings.push(source.at(1, format!("this layer is called {layer}.rs in every slice")));
        }
    }
    findings
}

pub(crate) fn sql_stays_in_stores(source: &Source) -> Vec<Finding> {
    let is_store = source
        .in_slice()
        .is_some_and(|(_, within)| within == "store.rs" || within.starts_with("store/"));
    // The simulator is a cloud of its own that happens to live in our database.
    let elsewhere = [
        "server/src/base/",
        "server/src/dev/",
        // The proof reads what every slice wrote, and writes nothing.
        "server/src/prove/",
        "server/src/provider/compute/simulator/",
    ];
    if !source.path.starts_with("server/src/")
        || is_store
        || elsewhere.iter().any(|dir| source.path.starts_with(dir))
    {
        return Vec::new();
    }
    let words = [
        "query!(",
        "query_as!(",
        "query_scalar!(",
        "sqlx::query",
        "raw_sql(",
    ];
    source.lines_with(&words, "SQL belongs into a slice's store.rs")
}

pub(crate) fn calls_go_down_the_ranks(source: &Source) -> Vec<Finding> {
    let rank = |slice: &str| RANK.iter().position(|name| *name == slice);
    let Some(own) = source.in_slice().and_then(|(slice, _)| rank(slice)) else {
        return Vec::new();
    };
    named_slices(source)
        .filter(|(_, slice)| rank(slice).is_some_and(|other| other > own))
        .map(|(line, slice)| {
            let message = format!("{} may not call {slice}: send an event", RANK[own]);
            source.at(line, message)
        })
        .collect()
}

/// Every `service::name` and every name in `service::{one, two::Thing}`, also over several lines.
fn named_slices(source: &Source) -> impl Iterator<Item = (usize, String)> {
    const PREFIX: &str = "service::";
    let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices(PREFIX) {
        if code[..at].ends_with(is_name) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + PREFIX.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push((
                line,
                rest.split(|c| !is_name(c))
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ));
            continue;
        };
        let mut depth = 0;
        let ours = list.chars().take_while(|c| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth >= 0
        });
        let ours: String = ours.collect();
        let names = ours.split(|c| !is_name(c)).filter(|name| !name.is_empty());
        found.extend(names.map(|name| (line, name.to_owned())));
    }
    found.into_iter()
}

pub(crate) fn base_knows_no_slice(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("server/src/base/") {
        return Vec::new();
    }
    let words = [
        "crate::service",
        "super::super::service",
        "crate::edge",
        "crate::provider",
    ];
    source.lines_with(&words, "base/ knows nothing of what is built on it")
}

pub(crate) fn handlers_name_no_role(source: &Source) -> Vec<Finding> {
    if !matches!(source.in_slice(), Some((_, "rpc.rs"))) && !source.path.contains("/rpc/") {
        return Vec::new();
    }
    let words = [
        "Role::",
        "has_role",
        "is_admin",
        "\"admin\"",
        "\"super_admin\"",
    ];
    source.lines_with(
        &words,
        "who may call is declared in the contract, not in a handler",
    )
}

pub(crate) fn slices_tell_their_story(source: &Source) -> Vec<Finding> {
    if !matches!(source.in_slice(), Some((_, "mod.rs"))) {
        return Vec::new();
    }
    let is_header = |line: &&str| line.starts_with("//!");
    let header: String = source.text.lines().take_while(is_header).collect();
    ["Owns", "Calls", "Emits"]
        .iter()
        .filter(|word| !header.contains(**word))
        .map(|word| source.at(1, format!("the header of a slice says what it {word}")))
        .collect()
}

pub(crate) fn modules_say_why(source: &Source) -> Vec<Finding> {
    let explained = ["//!", "#![doc"];
    let is_explained = explained.iter().any(|start| source.text.starts_with(start));
    if !source.path.ends_with(".rs") || is_explained || source.is_test() {
        return Vec::new();
    }
    vec![source.at(1, "a module opens with //! and why it exists")]
}

pub(crate) fn files_are_short(source: &Source) -> Vec<Finding> {
    const CODE: &[&str] = &["rs", "py", "ts", "tsx", "js", "go", "sh"];
    let extension = source.path.rsplit('.').next().unwrap_or_default();
    let count = source.text.lines().count();
    if !CODE.contains(&extension) || count <= MAX_LINES {
        return Vec::new();
    }
    vec![source.at(
        MAX_LINES + 1,
        format!("{count} lines: split it by what it does"),
    )]
}

pub(crate) fn names_have_a_meaning(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in source.path.split(['/', '.']) {
        if let Some(word) = banned_word(part) {
            findings.push(source.at(1, format!("a file named {word} has no subject")));
        }
    }
    if !source.path.ends_with(".rs") {
        return findings;
    }
    for (number, line) in source.code() {
        // Text between quotes declares nothing.
        let line: String = line.split('"').step_by(2).collect();
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        while let Some(keyword) = words.next() {
            if !["mod", "struct", "enum", "trait", "type"].contains(&keyword) {
                continue;
            }
            let name = words.next().unwrap_or_default();
            if let Some(word) = banned_word(name) {
                findings.push(source.at(number, format!("{name}: {word} says nothing")));
            }
        }
    }
    findings
}

/// The banned word among the words of a snake_case or CamelCase name.
fn banned_word(name: &str) -> Option<&'static str> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || c == '_' || c == '-' {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.iter_mut().last()?.extend(c.to_lowercase());
        }
    }
    let banned = |word: &&&str| words.iter().any(|w| w == **word);
    BANNED_WORDS.iter().find(banned).copied()
}

pub(crate) fn migrations_have_an_owner(source: &Source) -> Vec<Finding> {
    let Some(name) = source.path.strip_prefix("migrations/") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let owner = source
        .text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("-- owner: "));
    if !owner.is_some_and(|owner| ["base", "simulator"].contains(&owner) || RANK.contains(&owner)) {
        findings.push(source.at(1, "a migration starts with `-- owner: <slice>`"));
    }
    let stamp = name.split('_').next().unwrap_or_default();
    if stamp.len() != 14 || !stamp.chars().all(|c| c.is_ascii_digit()) {
        findings.push(source.at(1, "a migration is named <YYYYMMDDhhmmss>_<what>.sql"));
    }
    findings
}

pub(crate) fn nothing_names_a_machine(source: &Source) -> Vec<Finding> {
    // Put together here, or this file would be the first to break the rule.
    const PATHS: &[&str] = &[
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/home", "/"),
    ];
    const HOSTS: &[&str] = &[
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
        concat!("registry.", "npmjs"),
        concat!("py", "pi.org"),
        concat!("python", "hosted"),
        concat!("proxy.", "golang"),
        concat!("deb.", "debian"),
        concat!("repo.", "maven"),
    ];
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let absolute = |path: &&&str| {
            let is_outer = |c: char| !c.is_alphanumeric() && !"._-/}".contains(c);
            line.split_once(**path)
                .is_some_and(|(before, _)| before.chars().last().is_none_or(is_outer))
        };
        for found in PATHS.iter().filter(absolute) {
            findings.push(source.at(
                index + 1,
                format!("{found} is a place on somebody's machine"),
            ));
        }
        for found in HOSTS.iter().filter(|host| line.contains(**host)) {
            let message = format!("{found}: packages are named, the client knows where they are");
            findings.push(source.at(index + 1, message));
        }
    }
    findings
}
