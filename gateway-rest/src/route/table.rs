//! The matcher: a trie over raw (still percent-encoded) path segments.
//!
//! Precedence is literal, then one segment, then `**`, decided left to right, whatever the order of declaration. A path whose
//! end is a registered verb is that verb; any other text after a colon is data. Walking recurses once per template segment,
//! so the depth is that of the longest template, never that of the path.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use http::Method;

use super::template::{Segment, Template};
use crate::percent;

/// Index of a route; the table knows no more of it.
pub(crate) type RouteIndex = usize;

/// What a path and a method lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'p> {
    /// A route, and the raw segments of the path without its verb.
    Found(RouteIndex, RawPath<'p>),
    /// The path is known under these methods only.
    WrongMethod(Vec<Method>),
    NotFound,
}

/// The path of a request, cut into segments.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct RawPath<'p> {
    segments: Vec<&'p str>,
    /// The path without its leading slash and verb.
    text: &'p str,
}

impl<'p> RawPath<'p> {
    fn new(text: &'p str) -> Self {
        Self {
            segments: text.split('/').collect(),
            text,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The text of a range of segments with the slashes between them.
    pub(crate) fn span(&self, start: usize, end: usize) -> &'p str {
        if start >= end {
            return "";
        }
        let offset = |segment: &str| segment.as_ptr() as usize - self.text.as_ptr() as usize;
        let last = self.segments[end - 1];
        &self.text[offset(self.segments[start])..offset(last) + last.len()]
    }
}

/// A method of a binding; `*` in a custom pattern means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    Any,
    Is(Method),
}

#[derive(Debug, Default)]
struct Leaf {
    /// Few entries: one per HTTP method on this exact template.
    methods: Vec<(Verb, RouteIndex)>,
}

/// What ends at a node, by verb.
type Leaves = HashMap<Option<Box<str>>, Leaf>;

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    one: Option<Box<Node>>,
    /// `**` with the literals that follow it, longest first.
    many: Vec<(Vec<Box<str>>, Leaves)>,
    leaves: Leaves,
}

/// All routes of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Table {
    root: Node,
    /// Every verb of every template: text after a colon that is none of them is not worth a walk.
    verbs: HashSet<Box<str>>,
    longest_verb: usize,
}

impl Table {
    /// Adds a route; gives back the one that already stands on the same template and method.
    pub(crate) fn insert(
        &mut self,
        template: &Template,
        method: Verb,
        route: RouteIndex,
    ) -> Result<(), RouteIndex> {
        let mut node = &mut self.root;
        let mut leaves = None;
        for (index, segment) in template.segments.iter().enumerate() {
            match segment {
                Segment::Literal(text) => node = node.literals.entry(text.clone()).or_default(),
                Segment::One => node = node.one.get_or_insert_default(),
                Segment::Many => {
                    leaves = Some(leaves_after_many(node, &template.segments[index + 1..]));
                    break;
                }
            }
        }
        let leaves = match leaves {
            Some(leaves) => leaves,
            None => &mut node.leaves,
        };
        let leaf = leaves.entry(template.verb.clone()).or_default();
        let taken = leaf.methods.iter().find(|(other, _)| *other == method);
        if let Some((_, other)) = taken {
            return Err(*other);
        }
        leaf.methods.push((method, route));
        if let Some(verb) = &template.verb {
            self.longest_verb = self.longest_verb.max(verb.len());
            self.verbs.insert(verb.clone());
        }
        Ok(())
    }

    /// Finds the route of a request path (as received, with its leading slash).
    pub(crate) fn find<'p>(&self, path: &'p str, method: &Method) -> Lookup<'p> {
        let Some(text) = path.strip_prefix('/') else {
            return Lookup::NotFound;
        };
        // Empty segments match nothing (contract case 9), except that `**` takes an empty last one.
        if text.starts_with('/') || text.contains("//") {
            return Lookup::NotFound;
        }
        let last_segment = text.rfind('/').map_or(0, |slash| slash + 1);
        let mut search = Search {
            method,
            allowed: Vec::new(),
        };
        // The longest registered verb wins: of `a:b:c`, first `b:c` is tried, then `c`.
        for (at, _) in text[last_segment..].match_indices(':') {
            let colon = last_segment + at;
            let verb = &text[colon + 1..];
            if verb.len() > self.longest_verb || !self.verbs.contains(verb) {
                continue;
            }
            let raw = RawPath::new(&text[..colon]);
            if let Some(route) = search.walk(&self.root, &raw, 0, Some(verb)) {
                return Lookup::Found(route, raw);
            }
            if !search.allowed.is_empty() {
                return Lookup::WrongMethod(search.allowed);
            }
        }
        let raw = RawPath::new(text);
        match search.walk(&self.root, &raw, 0, None) {
            Some(route) => Lookup::Found(route, raw),
            None if search.allowed.is_empty() => Lookup::NotFound,
            None => Lookup::WrongMethod(search.allowed),
        }
    }
}

fn leaves_after_many<'n>(node: &'n mut Node, after: &[Segment]) -> &'n mut Leaves {
    let suffix: Vec<Box<str>> = after
        .iter()
        .filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            _ => None,
        })
        .collect();
    let at = node.many.iter().position(|(other, _)| *other == suffix);
    let at = at.unwrap_or_else(|| {
        let longer = |(other, _): &(Vec<Box<str>>, _)| other.len() >= suffix.len();
        let at = node.many.partition_point(longer);
        node.many.insert(at, (suffix, HashMap::new()));
        at
    });
    &mut node.many[at].1
}

/// A segment as a literal is compared with it; one with a malformed escape equals no literal.
fn unescaped(segment: &str) -> Cow<'_, str> {
    percent::decode(segment).unwrap_or(Cow::Borrowed(segment))
}

struct Search<'m> {
    method: &'m Method,
    /// Methods of templates that match the path but not the method.
    allowed: Vec<Method>,
}

impl Search<'_> {
    fn walk(
        &mut self,
        node: &Node,
        path: &RawPath<'_>,
        at: usize,
        verb: Option<&str>,
    ) -> Option<RouteIndex> {
        let Some(segment) = path.segments.get(at) else {
            // Without a verb, `**` also takes nothing at all.
            return self
                .leaf(&node.leaves, verb)
                .or_else(|| verb.is_none().then(|| self.many(node, path, at, verb))?);
        };
        // The root path is one empty segment; it stands for no segments.
        if at == 0
            && path.text.is_empty()
            && verb.is_none()
            && let Some(route) = self.leaf(&node.leaves, verb)
        {
            return Some(route);
        }
        if !segment.is_empty() {
            if let Some(next) = node.literals.get(unescaped(segment).as_ref())
                && let Some(route) = self.walk(next, path, at + 1, verb)
            {
                return Some(route);
            }
            if let Some(next) = &node.one
                && let Some(route) = self.walk(next, path, at + 1, verb)
            {
                return Some(route);
            }
        }
        self.many(node, path, at, verb)
    }

    fn many(
        &mut self,
        node: &Node,
        path: &RawPath<'_>,
        at: usize,
        verb: Option<&str>,
    ) -> Option<RouteIndex> {
        let rest = &path.segments[at..];
        for (suffix, leaves) in &node.many {
            let fits = rest.len() >= suffix.len()
                && rest[rest.len() - suffix.len()..]
                    .iter()
                    .zip(suffix)
                    .all(|(segment, literal)| unescaped(segment) == **literal);
            if fits && let Some(route) = self.leaf(leaves, verb) {
                return Some(route);
            }
        }
        None
    }

    fn leaf(&mut self, leaves: &Leaves, verb: Option<&str>) -> Option<RouteIndex> {
        let leaf = leaves.iter().find(|(known, _)| known.as_deref() == verb)?.1;
        let exact = |method: &Method| {
            let is = |(known, _): &&(Verb, RouteIndex)| matches!(known, Verb::Is(m) if m == method);
            leaf.methods.iter().find(is).map(|(_, route)| *route)
        };
        let any = || {
            let any = leaf.methods.iter().find(|(known, _)| *known == Verb::Any);
            any.map(|(_, route)| *route)
        };
        let head_as_get = || (*self.method == Method::HEAD).then(|| exact(&Method::GET))?;
        let found = exact(self.method).or_else(head_as_get).or_else(any);
        if found.is_none() {
            for (method, _) in &leaf.methods {
                let Verb::Is(method) = method else { continue };
                self.allow(method.clone());
                if *method == Method::GET {
                    self.allow(Method::HEAD);
                }
            }
        }
        found
    }

    fn allow(&mut self, method: Method) {
        if !self.allowed.contains(&method) {
            self.allowed.push(method);
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
