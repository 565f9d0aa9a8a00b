//! Certificates for tests, and a way over TLS for a device that speaks none.

use super::within;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate of its own issuer for `localhost`, and its key, in two files.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub der: CertificateDer<'static>,
}

impl Certificate {
    /// Writes `certificate.pem` and `key.pem` into `folder`, over those that are there.
    pub fn write(folder: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let written = Self {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            der: certificate.der().clone(),
        };
        fs::write(&written.certificate, certificate.pem()).unwrap();
        fs::write(&written.key, key.serialize_pem()).unwrap();
        only_for_me(&written.key);
        written
    }

    /// The options of `serve` that name it.
    pub fn options(&self) -> [&str; 4] {
        ["--tls-certificate", self.certificate.to_str().unwrap(), "--tls-key", self.key.to_str().unwrap()]
    }

    /// A connection to `addr`, if it shows this certificate.
    pub async fn connect(&self, addr: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    /// An address at which plain connections go on to `addr` over TLS.
    pub async fn tunnel(self: &Arc<Self>, addr: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let this = Arc::clone(&this);
                tokio::spawn(async move {
                    plain.set_nodelay(true).unwrap();
                    if let Ok(mut secure) = this.connect(addr).await {
                        // One of the two was closed.
                        let _ = copy_bidirectional(&mut plain, &mut secure).await;
                    }
                });
            }
        });
        here
    }
}

#[cfg(unix)]
fn only_for_me(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn only_for_me(_: &Path) {}
