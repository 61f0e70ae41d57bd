//! Number literals: the JSON grammar, and exact conversion to protobuf's number types.

use crate::fault::{OUT_OF_RANGE, Refusal};

/// Digits an integer may have after its exponent is applied; anything longer is out of every range.
const MAX_DIGITS: i64 = 24;

/// Length of the JSON number at the start of `text`, or `None` if there is none.
pub(crate) fn literal_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes[from.min(bytes.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match bytes.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at += digits(at),
        _ => return None,
    }
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}

/// Reads a literal as an integer without passing through a float: `1e3` and `1.0` are integers, `1.5` is not.
pub(crate) fn integer(literal: &str) -> Result<i128, Refusal> {
    let not_an_integer = || Refusal::invalid(format!("\"{}\" is not an integer", clip(literal)));
    if literal_length(literal) != Some(literal.len()) {
        return Err(not_an_integer());
    }
    if literal.len() <= 20 && !literal.contains(['.', 'e', 'E']) {
        return literal.parse().map_err(|_| not_an_integer());
    }
    let (mantissa, exponent) = match literal.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.parse::<i64>().unwrap_or_else(|_| {
                // Only the sign matters of an exponent that does not fit.
                if exponent.starts_with('-') {
                    i64::MIN / 2
                } else {
                    i64::MAX / 2
                }
            }),
        ),
        None => (literal, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let trailing_zeros = digits.len() - digits.trim_end_matches('0').len();
    let scale = exponent
        .saturating_sub(fraction.len() as i64)
        .saturating_add(trailing_zeros as i64);
    if scale < 0 {
        return Err(not_an_integer());
    }
    let length = scale.saturating_add(significant.len() as i64);
    if length > MAX_DIGITS {
        return Err(out_of_range(literal));
    }
    let magnitude = significant.parse::<i128>().map_err(|_| not_an_integer())?
        * 10_i128.pow(u32::try_from(scale).map_err(|_| not_an_integer())?);
    Ok(if negative { -magnitude } else { magnitude })
}

/// Reads a literal as an integer of a given type.
pub(crate) fn integer_as<T: TryFrom<i128>>(literal: &str) -> Result<T, Refusal> {
    T::try_from(integer(literal)?).map_err(|_| out_of_range(literal))
}

/// Reads a literal as a double; a literal too large for one is refused rather than turned into infinity.
pub(crate) fn double(literal: &str) -> Result<f64, Refusal> {
    if literal_length(literal) != Some(literal.len()) {
        return Err(Refusal::invalid(format!(
            "\"{}\" is not a number",
            clip(literal)
        )));
    }
    let value: f64 = literal
        .parse()
        .map_err(|_| Refusal::invalid("not a number"))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(out_of_range(literal))
    }
}

/// As [`double`], for a `float` field.
pub(crate) fn float(literal: &str) -> Result<f32, Refusal> {
    let wide = double(literal)?;
    let narrow = wide as f32;
    if narrow.is_finite() {
        Ok(narrow)
    } else {
        Err(out_of_range(literal))
    }
}

fn out_of_range(literal: &str) -> Refusal {
    Refusal::new(
        OUT_OF_RANGE,
        format!("{} is out of range for this field", clip(literal)),
    )
}

/// Client text quoted back in a message, kept short.
pub(crate) fn clip(text: &str) -> &str {
    match text.char_indices().nth(40) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{double, float, integer, integer_as};

    #[test]
    fn integers_are_exact() {
        for (literal, value) in [
            ("0", 0),
            ("-0", 0),
            ("1e3", 1000),
            ("1.0", 1),
            ("-1.50e1", -15),
            ("9223372036854775807", i128::from(i64::MAX)),
            ("9223372036854775807.0", i128::from(i64::MAX)),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("10e-1", 1),
            ("0e999999999999999999999", 0),
        ] {
            assert_eq!(integer(literal).unwrap(), value, "{literal}");
        }
        for literal in [
            "1.5",
            "1e-1",
            "",
            "-",
            "01",
            "+1",
            " 1",
            "1 ",
            "0x1",
            "1e",
            "NaN",
            "1e400",
            "1e99999999999999999999",
            "1e-99999999999999999999",
        ] {
            assert!(integer(literal).is_err(), "{literal}");
        }
        assert!(integer_as::<i32>("2147483648").is_err());
        assert_eq!(integer_as::<i32>("-2147483648").unwrap(), i32::MIN);
        assert!(integer_as::<u32>("-1").is_err());
    }

    #[test]
    fn floats_do_not_overflow_into_infinity() {
        assert!(double("1e309").is_err());
        assert_eq!(double("1.7976931348623157e308").unwrap(), f64::MAX);
        assert!(float("3.5e38").is_err());
        assert_eq!(float("3.4028235e38").unwrap(), f32::MAX);
        assert!(float("inf").is_err());
    }
}
