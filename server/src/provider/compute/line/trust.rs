//! Whom a line trusts: the authorities everybody trusts, or for a cluster of our own the one authority or the one certificate that staff named. Never anybody.

use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;

/// What staff said of the certificate of a server of our own. Both may be empty: then the public authorities decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM of the authorities that may have signed it; besides these none counts.
    pub authorities: String,
    /// SHA-256 of the certificate itself, in hex with or without colons. Its name and its time do not count then.
    pub fingerprint: String,
}

impl Trust {
    /// Whether it says anything that cannot be.
    ///
    /// # Errors
    /// What is wrong, and of which of the two.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !self.authorities.is_empty() && authorities(&self.authorities).is_err() {
            return Err(("certificate_authorities", "must be certificates in PEM"));
        }
        if !self.fingerprint.is_empty() && digest(&self.fingerprint).is_none() {
            return Err((
                "certificate_fingerprint",
                "must be 64 hexadecimal digits, with colons or without",
            ));
        }
        if !self.authorities.is_empty() && !self.fingerprint.is_empty() {
            return Err((
                "certificate_fingerprint",
                "must be empty if there are certificate authorities",
            ));
        }
        Ok(())
    }

    /// The TLS it makes; `None` for the usual one.
    ///
    /// # Errors
    /// If what staff said cannot be read.
    pub fn tls(&self) -> anyhow::Result<Option<ClientConfig>> {
        if self.authorities.is_empty() && self.fingerprint.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?;
        if self.fingerprint.is_empty() {
            let roots = authorities(&self.authorities)?;
            return Ok(Some(
                builder.with_root_certificates(roots).with_no_client_auth(),
            ));
        }
        let digest = digest(&self.fingerprint).context("a fingerprint that is none")?;
        let pinned = Arc::new(Pinned { digest, provider });
        Ok(Some(
            builder
                .dangerous()
                .with_custom_certificate_verifier(pinned)
                .with_no_client_auth(),
        ))
    }
}

fn authorities(pem: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| anyhow::anyhow!("not PEM: {e}"))?;
        roots.add(certificate).context("not a certificate")?;
    }
    if roots.is_empty() {
        bail!("there is no certificate");
    }
    Ok(roots)
}

fn digest(fingerprint: &str) -> Option<[u8; DIGEST]> {
    let digits: Vec<u32> = fingerprint
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// Takes one certificate and no other. Whoever shows it must also hold its key.
#[derive(Debug)]
struct Pinned {
    digest: [u8; DIGEST],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Sha256::digest(end_entity.as_ref())[..] == self.digest {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(
                "the certificate has another fingerprint".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_64_digits_however_they_are_written() {
        let plain = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        assert_eq!(digest(&plain), Some([0xab; 32]));
        assert_eq!(digest(&colons), Some([0xab; 32]));
        for wrong in [
            "",
            "ab",
            &"ab".repeat(31),
            &"ab".repeat(33),
            &"xy".repeat(32),
        ] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let with = |authorities: &str, fingerprint: &str| Trust {
            authorities: authorities.to_owned(),
            fingerprint: fingerprint.to_owned(),
        };
        assert!(with("", "").check().is_ok() && with("", "").tls().is_ok_and(|t| t.is_none()));
        assert!(with("", &"0".repeat(64)).check().is_ok());
        let field = |trust: Trust| trust.check().map_err(|(field, _)| field);
        assert_eq!(field(with("nonsense", "")), Err("certificate_authorities"));
        assert_eq!(field(with("", "12")), Err("certificate_fingerprint"));
    }
}
