//! Public keys in the form of OpenSSH: a type, the key in Base64, and perhaps a comment. RFC 4253 §6.6, RFC 5656, RFC 8709 and OpenSSH's PROTOCOL.u2f say what is inside.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chrono::{DateTime, Utc};

use crate::base::crypto;
use crate::base::id::SshKeyId;

/// Keys of an account at most.
pub const LIMIT: i64 = 100;
/// Bits of an RSA modulus. OpenSSH accepts no more than the greater number.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16_384;

/// A public key of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    /// Identifier.
    pub id: SshKeyId,
    /// Name for people.
    pub display_name: String,
    /// Type and Base64, without a comment.
    pub public_key: String,
    /// SHA-256 as OpenSSH shows it.
    pub fingerprint: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Reads a key: its text without the comment, and its fingerprint.
///
/// # Errors
/// What is wrong with it, in one clause.
pub fn read(text: &str) -> Result<(String, String), &'static str> {
    let text = text.trim();
    if text.contains(['\n', '\r']) {
        return Err("it must be one line");
    }
    if text.contains("PRIVATE KEY") {
        return Err("it is a private key; send the public one, and replace this pair");
    }
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
        return Err("it must be a type and a key in Base64");
    };
    let blob = STANDARD
        .decode(encoded)
        .map_err(|_| "the key is not in Base64")?;
    check(kind, &blob)?;
    let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(crypto::digest(&blob)));
    Ok((format!("{kind} {encoded}"), fingerprint))
}

fn check(kind: &str, blob: &[u8]) -> Result<(), &'static str> {
    const BROKEN: &str = "the key is incomplete or damaged";
    let mut rest = blob;
    let mut field = || take(&mut rest).ok_or(BROKEN);
    if field()? != kind.as_bytes() {
        return Err("the key is of another type than it says");
    }
    let (whole, weak) = match kind {
        "ssh-ed25519" => (field()?.len() == 32, false),
        "sk-ssh-ed25519@openssh.com" => (field()?.len() == 32 && !field()?.is_empty(), false),
        "ecdsa-sha2-nistp256" => (is_point(field()?, field()?, b"nistp256", 32), false),
        "ecdsa-sha2-nistp384" => (is_point(field()?, field()?, b"nistp384", 48), false),
        "ecdsa-sha2-nistp521" => (is_point(field()?, field()?, b"nistp521", 66), false),
        "sk-ecdsa-sha2-nistp256@openssh.com" => (
            is_point(field()?, field()?, b"nistp256", 32) && !field()?.is_empty(),
            false,
        ),
        "ssh-rsa" => {
            let (exponent, modulus) = (field()?, field()?);
            let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
            (
                odd(exponent) && odd(modulus),
                !RSA_BITS.contains(&bits(modulus)),
            )
        }
        _ => return Err("keys of this type are not taken"),
    };
    if weak {
        Err("an RSA key has 2048 to 16384 bits")
    } else if whole && rest.is_empty() {
        Ok(())
    } else {
        Err(BROKEN)
    }
}

/// The next field: a length in four bytes, and as many bytes.
fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (field, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

fn is_point(curve: &[u8], point: &[u8], expected: &[u8], bytes: usize) -> bool {
    // 4 stands for an uncompressed point.
    curve == expected && point.len() == 1 + 2 * bytes && point.first() == Some(&4)
}

/// Bits of a number, most significant byte first.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    digits
        .first()
        .map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKuvnvATIUyfBm3Gpnuk47UwTQX0pOLRCYHFBKkcpGU0";

    fn key(kind: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in [&[kind.as_bytes()], fields].concat() {
            blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(field);
        }
        format!("{kind} {}", STANDARD.encode(blob))
    }

    #[test]
    fn a_key_is_read_without_its_comment() {
        let (text, fingerprint) = read(&format!("  {ED25519} budi@laptop\n")).unwrap();
        assert_eq!(text, ED25519);
        assert!(fingerprint.starts_with("SHA256:") && fingerprint.len() == 50);
        assert_eq!(read(ED25519).unwrap().1, fingerprint);
    }

    #[test]
    fn every_type_is_known_by_its_shape() {
        let point = |bytes: usize| [vec![4], vec![7; 2 * bytes]].concat();
        let modulus = |bits: usize| [vec![0], vec![0x81; bits / 8]].concat();
        for (kind, fields) in [
            ("ssh-ed25519", vec![vec![1; 32]]),
            (
                "sk-ssh-ed25519@openssh.com",
                vec![vec![1; 32], b"ssh:".to_vec()],
            ),
            ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), point(32)]),
            ("ecdsa-sha2-nistp384", vec![b"nistp384".to_vec(), point(48)]),
            ("ecdsa-sha2-nistp521", vec![b"nistp521".to_vec(), point(66)]),
            (
                "sk-ecdsa-sha2-nistp256@openssh.com",
                vec![b"nistp256".to_vec(), point(32), b"ssh:".to_vec()],
            ),
            ("ssh-rsa", vec![vec![1, 0, 1], modulus(2048)]),
            ("ssh-rsa", vec![vec![1, 0, 1], modulus(16_384)]),
        ] {
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            assert!(read(&key(kind, &fields)).is_ok(), "{kind}");
            let longer = [&fields[..], &[b"more"]].concat();
            assert!(read(&key(kind, &longer)).is_err(), "{kind} and more");
            let shorter = &fields[..fields.len() - 1];
            assert!(read(&key(kind, shorter)).is_err(), "{kind} and less");
        }
    }

    #[test]
    fn what_is_no_key_or_too_weak_is_refused_with_the_reason() {
        let modulus = |bits: usize| vec![0x81; bits / 8];
        let blob = ED25519.split_once(' ').unwrap().1;
        for (text, problem) in [
            (String::new(), "a type and a key"),
            ("ssh-ed25519".to_owned(), "a type and a key"),
            ("ssh-ed25519 ***".to_owned(), "not in Base64"),
            (format!("ssh-rsa {blob}"), "another type"),
            (key("ssh-dss", &[&[1; 20]]), "not taken"),
            (format!("{ED25519}\n{ED25519}"), "one line"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY----- AAAA".to_owned(),
                "private key",
            ),
            (key("ssh-rsa", &[&[1, 0, 1], &modulus(1024)]), "2048"),
            (key("ssh-rsa", &[&[1, 0, 1], &modulus(16_392)]), "2048"),
            (key("ssh-rsa", &[&[2], &modulus(2048)]), "damaged"),
            (key("ssh-ed25519", &[&[1; 31]]), "damaged"),
            (
                key("ecdsa-sha2-nistp256", &[b"nistp256", &[2; 65]]),
                "damaged",
            ),
            ("ssh-ed25519 AAAA".to_owned(), "damaged"),
        ] {
            let said = read(&text).unwrap_err();
            assert!(said.contains(problem), "{text:?}: {said}");
        }
    }
}
