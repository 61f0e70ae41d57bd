//! Passwords for machines, made for people to read from a screen and type into a console.

use crate::base::crypto;

/// No I, O, l, o, 0 or 1, which look like each other.
const ALPHABET: &[u8; 56] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
/// 116 bits.
const LENGTH: usize = 20;

/// A new password: 20 characters, with a capital letter, a small one and a digit among them, as some providers insist.
pub fn make() -> String {
    loop {
        let password = from_bytes(&crypto::random::<64>());
        let has = |test: fn(&u8) -> bool| password.bytes().any(|b| test(&b));
        if password.len() == LENGTH
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_digit)
        {
            return password;
        }
    }
}

/// Bytes beyond the greatest multiple of the alphabet's length are passed over, since they would make its first letters more likely.
fn from_bytes(bytes: &[u8]) -> String {
    let fair = bytes
        .iter()
        .map(|b| usize::from(*b))
        .filter(|b| *b < 4 * ALPHABET.len());
    fair.take(LENGTH)
        .map(|b| char::from(ALPHABET[b % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_long_mixed_and_unambiguous() {
        for _ in 0..200 {
            let password = make();
            assert_eq!(password.len(), LENGTH);
            assert!(
                password.chars().any(|c| c.is_ascii_uppercase())
                    && password.chars().any(|c| c.is_ascii_lowercase())
            );
            assert!(
                password.chars().any(|c| c.is_ascii_digit())
                    && !password.contains(['I', 'O', 'l', 'o', '0', '1'])
            );
        }
        assert_ne!(make(), make());
    }

    #[test]
    fn bytes_beyond_the_last_full_round_are_passed_over() {
        assert_eq!(from_bytes(&[224, 255, 0, 56, 223]), "AA9");
    }
}
