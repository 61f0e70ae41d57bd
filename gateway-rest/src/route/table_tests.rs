//! The matcher as tables: what leads where, and what leads nowhere.

use http::Method;
use proptest::prelude::*;

use super::{Lookup, Table, Verb};
use crate::route::template::parse;

fn table(templates: &[&str]) -> Table {
    let mut table = Table::default();
    for (index, text) in templates.iter().enumerate() {
        let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
        let method = Verb::Is(method.parse().unwrap());
        table
            .insert(&parse(path).unwrap(), method, index)
            .unwrap_or_else(|other| panic!("{text} collides with {}", templates[other]));
    }
    table
}

fn find<'t>(table: &Table, templates: &[&'t str], path: &str) -> Option<&'t str> {
    match table.find(path, &Method::GET) {
        Lookup::Found(index, _) => Some(templates[index]),
        _ => None,
    }
}

fn check(templates: &[&str], expected: &[(&str, Option<&str>)]) {
    let reversed: Vec<&str> = templates.iter().rev().copied().collect();
    for order in [templates.to_vec(), reversed] {
        let table = table(&order);
        for (path, wanted) in expected {
            assert_eq!(find(&table, &order, path), *wanted, "{path}");
        }
    }
}

/// Contract case 2.
#[test]
fn many_takes_zero_or_more_segments() {
    check(
        &["/**", "/t/**", "/t/**:v"],
        &[
            ("/", Some("/**")),
            ("/a/", Some("/**")),
            ("/t", Some("/t/**")),
            ("/t/", Some("/t/**")),
            ("/t/a/b", Some("/t/**")),
            ("/t/:v", Some("/t/**:v")),
            ("/t/a:v", Some("/t/**:v")),
            ("/t:v", Some("/**")),
            ("/t//a", None),
        ],
    );
}

/// Contract case 4.
#[test]
fn literals_beat_single_segments_beat_many() {
    check(
        &[
            "/a/{x}", "/a/b", "/{y=**}", "/a/{x}/c", "/a/**", "/a/{x}:v", "/a/b:v",
        ],
        &[
            ("/a/b", Some("/a/b")),
            ("/a/x", Some("/a/{x}")),
            ("/a/b/c", Some("/a/{x}/c")),
            ("/a/b/d", Some("/a/**")),
            ("/z", Some("/{y=**}")),
            ("/a/b:v", Some("/a/b:v")),
            ("/a/x:v", Some("/a/{x}:v")),
        ],
    );
}

/// Contract case 6.
#[test]
fn only_registered_verbs_are_verbs() {
    check(
        &[
            "/p",
            "/p/{id}",
            "/{x=**}:verb",
            "/q/{id}:a:b",
            "/q/{id}:b",
            "/r/{id}:only",
        ],
        &[
            ("/p:verb", Some("/{x=**}:verb")),
            ("/p/jason:verb", Some("/{x=**}:verb")),
            ("/p/jason:other", Some("/p/{id}")),
            ("/p/jason%3Averb", Some("/p/{id}")),
            ("/animal", None),
            ("/p:other", None),
            ("/q/1:a:b", Some("/q/{id}:a:b")),
            ("/q/1:x:b", Some("/q/{id}:b")),
            ("/r/1", None),
            ("/r/:only", None),
        ],
    );
}

/// Contract cases 7 and 9.
#[test]
fn nothing_matches_partially() {
    check(
        &["/a/b/c", "/x/{y}/z", "/m/**/end"],
        &[
            ("/a/b", None),
            ("/a/b/c/d", None),
            ("/a/b/c/", None),
            ("/a//c", None),
            ("//a/b/c", None),
            ("/x//z", None),
            ("a/b/c", None),
            ("", None),
            ("/m/end", Some("/m/**/end")),
            ("/m/1/2/end", Some("/m/**/end")),
            ("/m/1/2/%65nd", Some("/m/**/end")),
            ("/m/1/2/end/", None),
        ],
    );
    let long = format!("/m{}/end", "/s".repeat(200_000));
    let table = table(&["/m/**/end"]);
    assert!(matches!(table.find(&long, &Method::GET), Lookup::Found(..)));
}

/// Contract case 3.
#[test]
fn literals_inside_variables_choose_the_binding() {
    check(
        &[
            "/v1/{info=first/*}:echo",
            "/v1/{info=second/*}:echo",
            "/v1/{kind}/{info=first/*}:echo",
        ],
        &[
            ("/v1/first/hello:echo", Some("/v1/{info=first/*}:echo")),
            ("/v1/second/hello:echo", Some("/v1/{info=second/*}:echo")),
            (
                "/v1/second/first/hello:echo",
                Some("/v1/{kind}/{info=first/*}:echo"),
            ),
        ],
    );
}

/// Contract case 8.
#[test]
fn a_known_path_under_another_method_lists_what_is_allowed() {
    let table = table(&["GET /a/{x}", "DELETE /a/{x}", "POST /a/{x}:v"]);
    let allowed = |path: &str, method: Method| match table.find(path, &method) {
        Lookup::WrongMethod(methods) => methods,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        allowed("/a/1", Method::PUT),
        [Method::GET, Method::HEAD, Method::DELETE]
    );
    assert_eq!(allowed("/a/1:v", Method::GET), [Method::POST]);
    assert!(matches!(
        table.find("/a/1", &Method::HEAD),
        Lookup::Found(0, _)
    ));
}

/// Contract case 5, last part.
#[test]
fn the_same_template_and_method_twice_is_a_conflict() {
    let mut table = table(&["GET /a/{x}/b"]);
    let again = parse("/a/{other=*}/b").unwrap();
    assert_eq!(table.insert(&again, Verb::Is(Method::GET), 9), Err(0));
    assert_eq!(table.insert(&again, Verb::Is(Method::PUT), 9), Ok(()));
}

#[test]
fn captures_are_slices_of_the_path() {
    let table = table(&["/v1/{name=shelves/*/**}/end:v"]);
    let Lookup::Found(0, raw) = table.find("/v1/shelves/1/a%2Fb/c/end:v", &Method::GET) else {
        panic!("a match")
    };
    assert_eq!(raw.len(), 6);
    assert_eq!(raw.span(1, 5), "shelves/1/a%2Fb/c");
    assert_eq!(raw.span(3, 3), "");
}

proptest! {
    /// Contract case 60.
    #[test]
    fn never_panics(path in "[/a:%2F*vme]{0,32}") {
        let table = table(&["/a/**", "/a/{e}/v:m", "/{x}:v", "/m/**/e", "/"]);
        let _ = table.find(&path, &Method::GET);
    }
}
