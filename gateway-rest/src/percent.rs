//! Percent-decoding with the three rules a URL needs: whole segments, multi-segment captures, query text.
//!
//! Unlike the usual decoders these refuse a malformed escape instead of passing it through: a client that sends `%zz` has a bug
//! it wants to hear about, and two readings of one URL are how filters get bypassed.

use std::borrow::Cow;

/// Decodes every escape, once.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    decode_with(text, |_| true, false)
}

/// Decodes every escape but `%2F`, so that the number of segments stays what the client wrote.
pub(crate) fn decode_keeping_slash(text: &str) -> Option<Cow<'_, str>> {
    decode_with(text, |byte| byte != b'/', false)
}

/// Decodes every escape, and `+` to a space, as forms and query strings do.
pub(crate) fn decode_query(text: &str) -> Option<Cow<'_, str>> {
    decode_with(text, |_| true, true)
}

fn decode_with(text: &str, take: fn(u8) -> bool, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let special = |byte: &u8| *byte == b'%' || (plus_is_space && *byte == b'+');
    let Some(first) = text.as_bytes().iter().position(special) else {
        return Some(Cow::Borrowed(text));
    };
    let mut out = text.as_bytes()[..first].to_vec();
    let mut rest = &text.as_bytes()[first..];
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'%' => {
                let (digits, after) = after.split_at_checked(2)?;
                let decoded = hex(digits[0])? << 4 | hex(digits[1])?;
                if take(decoded) {
                    out.push(decoded);
                } else {
                    out.extend_from_slice(&rest[..3]);
                }
                rest = after;
            }
            b'+' if plus_is_space => {
                out.push(b' ');
                rest = after;
            }
            other => {
                out.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Decodes the percent-encoding gRPC gives `grpc-message`; malformed escapes stay as they are, as its specification asks.
pub(crate) fn decode_grpc_message(text: &[u8]) -> String {
    percent_encoding::percent_decode(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_keeping_slash, decode_query};

    #[test]
    fn escapes_are_decoded_once_and_strictly() {
        assert_eq!(decode("a%2Fb%2525").as_deref(), Some("a/b%25"));
        assert_eq!(
            decode_keeping_slash("a%2fb%20c").as_deref(),
            Some("a%2fb c")
        );
        assert_eq!(decode("a+b").as_deref(), Some("a+b"));
        assert_eq!(decode_query("a+b%2B").as_deref(), Some("a b+"));
        for bad in ["%", "%2", "%zz", "%ff", "%+1", "a%", "%c3%28"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
