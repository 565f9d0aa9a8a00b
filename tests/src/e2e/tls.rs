//! What stands before a relay that is reached by `wss://`: a proxy that ends TLS, with a certificate of its own making.

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A TLS proxy for `localhost`.
pub struct TlsProxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsProxy {
    /// Starts one before a relay and writes the certificate of its authority to `authority`, as PEM.
    pub async fn start(relay: SocketAddr, authority: &Path) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server(authority)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((device, _)) = listener.accept().await {
                connections.spawn(pass(device, relay, acceptor.clone()));
            }
        });
        Self { address, task }
    }

    /// Where devices reach the relay.
    pub fn url(&self) -> String {
        format!("wss://localhost:{}", self.address.port())
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(device: TcpStream, relay: SocketAddr, acceptor: TlsAcceptor) -> std::io::Result<()> {
    device.set_nodelay(true)?;
    let mut device = acceptor.accept(device).await?;
    let mut relay = TcpStream::connect(relay).await?;
    relay.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut device, &mut relay).await.map(drop)
}

/// Writes what a proxy needs to speak TLS for `localhost`, certificate and key, to `pem`, and the certificate of their
/// authority to `authority`.
pub fn write_certificate(authority: &Path, pem: &Path) {
    let (certificate, key) = certificate(authority);
    std::fs::write(pem, certificate.pem() + &key.serialize_pem()).unwrap();
}

fn server(authority: &Path) -> ServerConfig {
    let (certificate, key) = certificate(authority);
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

fn certificate(authority: &Path) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(authority, certificate.pem()).unwrap();
    let issuer = Issuer::new(params, key);

    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap(), key)
}
