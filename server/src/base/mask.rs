//! Update masks: which fields of a resource a client asks to change.

use prost_types::FieldMask;

/// The writable fields a mask names, in the order of `writable`. `*` names all of them. An absent or empty mask names those that `populated` says the request
/// carries a value for, which is what AIP-134 asks of a server; to clear a field, name it.
///
/// # Errors
/// The first path that is not a writable field, whether it is read-only or does not exist.
pub fn fields(
    mask: Option<&FieldMask>,
    writable: &'static [&'static str],
    populated: impl Fn(&str) -> bool,
) -> Result<Vec<&'static str>, String> {
    let paths = mask.map(|m| m.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        return Ok(writable
            .iter()
            .copied()
            .filter(|field| populated(field))
            .collect());
    }
    if let Some(path) = paths
        .iter()
        .find(|path| *path != "*" && !writable.contains(&path.as_str()))
    {
        return Err(path.clone());
    }
    let all = paths.iter().any(|path| path == "*");
    Ok(writable
        .iter()
        .copied()
        .filter(|field| all || paths.iter().any(|path| path == field))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[&str]) -> Result<Vec<&'static str>, String> {
        let mask = FieldMask {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        };
        fields(Some(&mask), &["name", "phone"], |field| field == "phone")
    }

    #[test]
    fn a_mask_names_writable_fields_only() {
        assert_eq!(named(&["phone", "name"]), Ok(vec!["name", "phone"]));
        assert_eq!(named(&["*"]), Ok(vec!["name", "phone"]));
        assert_eq!(named(&["name", "email"]), Err("email".to_owned()));
        assert_eq!(named(&["*", "nonsense"]), Err("nonsense".to_owned()));
        assert_eq!(named(&[""]), Err(String::new()));
    }

    #[test]
    fn without_a_mask_the_values_sent_are_meant() {
        assert_eq!(named(&[]), Ok(vec!["phone"]));
        assert_eq!(fields(None, &["name", "phone"], |_| false), Ok(vec![]));
    }
}
