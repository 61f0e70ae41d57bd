//! The path template language of `google/api/http.proto`:
//! `/v1/{name=shelves/*}/books/{id}:verb`, `**` for any number of segments.

/// One segment of a path as the matcher sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    Literal(Box<str>),
    /// `*`: exactly one segment, not empty.
    One,
    /// `**`: any number of segments.
    Many,
}

/// A variable and the segments it captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// `instance.id` as two names.
    pub(crate) path: Vec<Box<str>>,
    /// First captured segment.
    pub(crate) start: usize,
    /// One past the last captured segment.
    pub(crate) end: usize,
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    /// Everything after the first `:` outside braces; may contain further colons.
    pub(crate) verb: Option<Box<str>>,
}

impl Template {
    /// Position of `**`, if there is one.
    pub(crate) fn many_at(&self) -> Option<usize> {
        self.segments
            .iter()
            .position(|segment| *segment == Segment::Many)
    }
}

/// Parses and checks a template.
pub(crate) fn parse(text: &str) -> Result<Template, &'static str> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err("a template starts with \"/\"");
    };
    let (path, verb) = split_verb(rest);
    if verb == Some("") || verb.is_some_and(|verb| !verb.split(':').all(is_literal)) {
        return Err("the verb after \":\" is empty or holds a character a verb cannot have");
    }
    let mut template = Template {
        segments: Vec::new(),
        variables: Vec::new(),
        verb: verb.map(Box::from),
    };
    if path.is_empty() {
        return if verb.is_none() {
            Ok(template)
        } else {
            Err("a verb needs a path before it")
        };
    }
    let mut rest = path;
    loop {
        rest = if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').ok_or("\"{\" without \"}\"")?;
            variable(&mut template, &inner[..end])?;
            &inner[end + 1..]
        } else {
            let end = rest.find('/').unwrap_or(rest.len());
            template.segments.push(segment(&rest[..end])?);
            &rest[end..]
        };
        match rest.strip_prefix('/') {
            Some(after) => rest = after,
            None if rest.is_empty() => break,
            None => return Err("a variable must be a whole segment"),
        }
    }
    check(&template)?;
    Ok(template)
}

/// Splits at the first colon that is not inside braces.
fn split_verb(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn segment(text: &str) -> Result<Segment, &'static str> {
    match text {
        "" => Err("a template has no empty segment and no trailing \"/\""),
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Many),
        _ if is_literal(text) => Ok(Segment::Literal(Box::from(text))),
        _ => Err("a segment is a literal, \"*\", \"**\" or a whole variable"),
    }
}

/// Unreserved characters, and the sub-delimiters that need no escape in a path.
fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~!$&'()+,;=@".contains(&byte))
}

fn variable(template: &mut Template, text: &str) -> Result<(), &'static str> {
    let (path, pattern) = text.split_once('=').unwrap_or((text, "*"));
    let path: Vec<Box<str>> = path.split('.').map(Box::from).collect();
    if !path.iter().all(|name| is_identifier(name)) {
        return Err("a variable is named by field names joined with \".\"");
    }
    let start = template.segments.len();
    for part in pattern.split('/') {
        if part.contains('{') {
            return Err("a variable cannot hold another variable");
        }
        template.segments.push(segment(part)?);
    }
    template.variables.push(Variable {
        path,
        start,
        end: template.segments.len(),
    });
    Ok(())
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn check(template: &Template) -> Result<(), &'static str> {
    if let Some(at) = template.many_at() {
        let after = &template.segments[at + 1..];
        if !after
            .iter()
            .all(|segment| matches!(segment, Segment::Literal(_)))
        {
            return Err("only literals may follow \"**\"");
        }
    }
    for (index, variable) in template.variables.iter().enumerate() {
        let overlaps = template.variables[..index].iter().any(|earlier| {
            let common = earlier.path.len().min(variable.path.len());
            earlier.path[..common] == variable.path[..common]
        });
        if overlaps {
            return Err("two variables set the same field");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Segment, parse};

    /// Contract case 5.
    #[test]
    fn invalid_templates_are_refused() {
        for text in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/a/**/*",
            "/a/**/{x}",
            "/**/**",
            "/a{x=b/**}",
            "/{x}b",
            "/{1}",
            "/{}",
            "/{x=}",
            "/{x",
            "/x}",
            "/***",
            "/a/***",
            "/{x=***}",
            "/a:",
            "/:v",
            "/a:v/b",
            "/{x}/{x}",
            "/{x.y}/{x}",
            "/{x={y}}",
            "/{x=*/{y}}",
            "/{x.}",
            "/{.x}",
            "/a b",
            "/{x=a/}",
            "/a?b",
            "/a%zz",
            "/{x:v}",
            "/{x}:{y}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_knows_the_segments_it_captures() {
        let template = parse("/v1/{name=shelves/*/books/**}/pages:cut:twice").unwrap();
        assert_eq!(template.segments.len(), 6);
        assert_eq!(template.segments[4], Segment::Many);
        assert_eq!(
            (template.variables[0].start, template.variables[0].end),
            (1, 5)
        );
        assert_eq!(template.verb.as_deref(), Some("cut:twice"));
        assert_eq!(parse("/").unwrap().segments, []);
    }

    proptest! {
        /// Contract case 60.
        #[test]
        fn never_panics(text in "[/{}*=:.a1%]{0,24}") {
            let _ = parse(&text);
        }
    }
}
