//! A certificate that may be renewed while the process runs.
//!
//! The two files are read every few seconds and compared with what was read before. That notices a renewal however it was done (written in place, moved over, a
//! link turned, a volume mounted anew), needs nobody to send a signal, and cannot be fooled by a time stamp. A pair that does not fit together, as between the
//! writing of one file and of the other, is looked at again; what served before goes on serving.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not well-formed PEM.
    #[error("{} is not PEM: {source}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The certificate's file holds none.
    #[error("{} has no certificate (a block that begins with -----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key's file holds none.
    #[error("{} has no private key (a block that begins with -----BEGIN PRIVATE KEY-----)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The two are no pair, or one is of a kind that is not supported.
    #[error("{} and {} cannot be used together: {source}", certificate.display(), key.display())]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate chain and its key, read from two PEM files and read again when they change. Speaks TLS 1.2 and 1.3, and offers HTTP/2 and HTTP/1.1.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files held when `current` was made of them.
    first: Contents,
}

/// Both files, as they were.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the chain (the server's own certificate first) and the key.
    ///
    /// # Errors
    /// If a file cannot be read or holds no such thing, or the key is not that of the certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let first = contents(certificate, key)?;
        let config = configure(certificate, key, &first)?;
        Ok(Self {
            shared: Arc::new(Shared {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                current: RwLock::new(Arc::new(config)),
                first,
            }),
        })
    }

    /// Takes what new connections are greeted with from the files whenever they change. Never ends.
    pub(super) async fn follow(self) {
        let Shared {
            certificate,
            key,
            current,
            first,
        } = &*self.shared;
        let mut seen = Ok(first.clone());
        loop {
            tokio::time::sleep(LOOK).await;
            let found = contents(certificate, key).map_err(|error| error.to_string());
            if found == seen {
                continue;
            }
            let config = match &found {
                Ok(found) => configure(certificate, key, found).map_err(|error| error.to_string()),
                Err(problem) => Err(problem.clone()),
            };
            match config {
                Ok(config) => {
                    *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    tracing::info!(certificate = %certificate.display(), "a new certificate is in use");
                }
                Err(problem) => {
                    tracing::error!(
                        problem,
                        "a new certificate was not taken; the old one stays in use"
                    );
                }
            }
            seen = found;
        }
    }

    /// Greets a client with the certificate of the moment.
    pub(super) async fn accept(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(
            &self
                .shared
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        );
        TlsAcceptor::from(config).accept(socket).await
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.shared.certificate)
            .field("key", &self.shared.key)
            .finish_non_exhaustive()
    }
}

fn contents(certificate: &Path, key: &Path) -> Result<Contents, TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })
    };
    Ok(Contents {
        certificate: read(certificate)?,
        key: read(key)?,
    })
}

fn configure(certificate: &Path, key: &Path, found: &Contents) -> Result<ServerConfig, TlsError> {
    let not_pem = |path: &Path, source| TlsError::NotPem {
        path: path.to_owned(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&found.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(certificate, error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: certificate.to_owned(),
        });
    }
    let private = match PrivateKeyDer::from_pem_slice(&found.key) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) => {
            return Err(TlsError::NoKey {
                path: key.to_owned(),
            });
        }
        Err(error) => return Err(not_pem(key, error)),
    };
    let no_pair = |source| TlsError::NoPair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    // Named, because a process may link more than one and then has no default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(no_pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(no_pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
