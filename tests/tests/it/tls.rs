//! TLS at the port itself, and a certificate that changes while the server runs. [N3]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use rustls::pki_types::CertificateDer;
use sewa_tests::http::{Http, TLS_NAME};
use sewa_tests::patience::{eventually, soon};
use sewa_tests::{Settings, World};

/// A certificate and its key in two files.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> (Self, CertificateDer<'static>) {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let certificate = files.renew();
        (files, certificate)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Writes a new pair, as a renewal does: one file after the other.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed([TLS_NAME.to_owned()]).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn settings(&self) -> Settings {
        settings(&self.certificate(), &self.key())
    }
}

fn settings(certificate: &Path, key: &Path) -> Settings {
    Settings::default()
        .with("TLS_CERTIFICATE", certificate.display())
        .with("TLS_KEY", key.display())
}

async fn opens(http: &Http) -> Result<u16, String> {
    let opened = http
        .open(Method::GET, "/healthz", &[], Bytes::new())
        .await
        .map_err(|error| format!("{error:#}"))?;
    Ok(opened.status().as_u16())
}

#[tokio::test]
async fn everything_is_there_over_tls_too() {
    let mut world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(20_000).await;
    let (files, certificate) = Files::new();
    let place = world.add_server_with(files.settings()).unwrap();
    let http = Http::new(world.servers[place].address()).bearer(&budi.tokens.access_token);
    let http = http.trusting(&certificate);
    for http in [http.clone(), http.http2()] {
        crate::one_port::everything_but_cors(&http).await;
    }
    crate::one_port::grpc(&http.http2()).await;
    // Plain text to the same port gets nothing, and harms nobody.
    let plain = Http::new(world.servers[place].address());
    assert!(opens(&plain).await.is_err());
    let (_, stranger) = Files::new();
    assert!(opens(&http.trusting(&stranger)).await.is_err());
    assert_eq!(opens(&http).await, Ok(200));
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let mut world = World::new().await;
    let budi = world.reseller().await;
    let (files, first) = Files::new();
    let place = world.add_server_with(files.settings()).unwrap();
    let http = Http::new(world.servers[place].address()).bearer(&budi.tokens.access_token);
    // A connection that lives through all of it.
    let path = "/v1/events:watch?types=EVENT_TYPE_DEPOSIT_PAID&checkpoints=true";
    let watch = http.trusting(&first).http2();
    let watch = watch.open(Method::GET, path, &[], Bytes::new()).await;
    let mut watched = watch.unwrap().into_body();

    let second = files.renew();
    eventually("the second certificate is in use", || {
        opens_with(&http, &second)
    })
    .await;
    assert!(opens(&http.trusting(&first)).await.is_err());

    std::fs::write(files.certificate(), "not a certificate").unwrap();
    eventually("the third certificate is refused", || async {
        let log = world.servers[place].log();
        let named = log.contains("chain.pem has no certificate");
        (named && log.contains("was not taken"))
            .then_some(())
            .ok_or(())
    })
    .await;
    assert_eq!(opens(&http.trusting(&second)).await, Ok(200));

    // A certificate without its key, which is what a renewal looks like half-way.
    let made = rcgen::generate_simple_self_signed([TLS_NAME.to_owned()]).unwrap();
    std::fs::write(files.certificate(), made.cert.pem()).unwrap();
    eventually("the pair that is none is refused", || async {
        let log = world.servers[place].log();
        log.contains("cannot be used together")
            .then_some(())
            .ok_or(())
    })
    .await;
    assert_eq!(opens(&http.trusting(&second)).await, Ok(200));
    std::fs::write(files.key(), made.signing_key.serialize_pem()).unwrap();
    eventually("the other half makes it a pair", || {
        opens_with(&http, made.cert.der())
    })
    .await;

    let paid = budi.deposit(20_000).await;
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(&paid.id) {
        let frame = soon("an event", watched.frame()).await;
        let frame = frame.expect("the old connection goes on").unwrap();
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
}

async fn opens_with(http: &Http, certificate: &CertificateDer<'static>) -> Result<(), String> {
    opens(&http.trusting(certificate)).await.map(drop)
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    let world = World::new().await;
    let (files, _) = Files::new();
    let (others, _) = Files::new();
    let nowhere = files.folder.path().join("nowhere.pem");
    let garbage = files.folder.path().join("garbage.pem");
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    std::fs::write(&garbage, broken).unwrap();
    let certificate = files.certificate();
    for (certificate, key, says) in [
        (&nowhere, &files.key(), "nowhere.pem cannot be read"),
        (&certificate, &nowhere, "nowhere.pem cannot be read"),
        (&garbage, &files.key(), "garbage.pem is not PEM"),
        (&files.key(), &files.key(), "key.pem has no certificate"),
        (&certificate, &certificate, "chain.pem has no private key"),
        (&certificate, &others.key(), "cannot be used together"),
    ] {
        let said = world
            .sewa_with(&["serve"], settings(certificate, key))
            .unwrap_err();
        assert!(said.contains(says), "{says} is not in:\n{said}");
        assert!(said.contains("tls_certificate, tls_key"), "{said}");
    }
}
