//! TLS: the certificate, and reading it again while the relay runs.

use crate::TlsFiles;
use crate::metrics::Metrics;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The certificate of a relay that runs.
#[derive(Clone)]
pub struct Certificates(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// What the files looked like when they were last read, also if they were no good.
    read: Stamp,
}

/// When the files last changed; `None` for one that cannot be seen.
#[derive(PartialEq)]
struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Certificates {
    pub(crate) fn load(files: TlsFiles) -> io::Result<Self> {
        let read = Stamp::of(&files);
        let config = load(&files).map_err(|(kind, why)| io::Error::new(kind, why))?;
        Ok(Self(Arc::new(Shared { files, current: Mutex::new(Current { config, read }) })))
    }

    /// Reads both files again. If they are no good, the relay goes on with what it has and logs a warning.
    pub fn reload(&self) {
        let read = Stamp::of(&self.0.files);
        let loaded = load(&self.0.files);
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.read = read;
        match loaded {
            Ok(config) => {
                current.config = config;
                info!("read the certificate again");
            }
            Err((_, why)) => warn!("{why}; going on with the certificate from before"),
        }
    }

    /// Reads the files again whenever they change. Never returns.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let read = Stamp::of(&self.0.files);
            if read != self.0.current.lock().unwrap_or_else(PoisonError::into_inner).read {
                self.reload();
            }
        }
    }

    /// A new connection's handshake with the certificate of this moment. Whoever awaits it limits its time.
    pub(crate) async fn accept<S>(&self, stream: S, metrics: &Metrics) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.0.current.lock().unwrap_or_else(PoisonError::into_inner).config);
        let mut handshake = Handshake { metrics, done: false };
        let accepted = TlsAcceptor::from(config).accept(stream).await.ok();
        handshake.done = accepted.is_some();
        accepted
    }
}

/// Counts a handshake that was not done, also if its time ran out and it was dropped.
struct Handshake<'a> {
    metrics: &'a Metrics,
    done: bool,
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.metrics.tls_handshake_failed();
        }
    }
}

impl Stamp {
    fn of(files: &TlsFiles) -> Self {
        Self([&files.certificate, &files.key].map(|path| {
            let seen = std::fs::metadata(path).ok()?;
            Some((seen.modified().ok()?, seen.len()))
        }))
    }
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, (io::ErrorKind, String)> {
    let no_good = |path: &Path, kind, why: String| (kind, format!("cannot use {}: {why}", path.display()));
    let read = |path: &Path| std::fs::read(path).map_err(|error| no_good(path, error.kind(), error.to_string()));
    let certificates = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| no_good(&files.certificate, io::ErrorKind::InvalidData, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| no_good(&files.key, io::ErrorKind::InvalidData, error.to_string()))?;
    warn_if_others_may_read(&files.key);
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map(Arc::new)
        .map_err(|error: rustls::Error| no_good(&files.certificate, io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(unix)]
fn warn_if_others_may_read(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(key).is_ok_and(|seen| seen.permissions().mode() & 0o007 != 0) {
        warn!("every user of this machine may use the private key {}: take that away from it", key.display());
    }
}

#[cfg(not(unix))]
fn warn_if_others_may_read(_: &Path) {}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.files.fmt(f)
    }
}
