//! `handfast-relay healthcheck`, for containers that have no other program to ask with.

use super::Stop;
use crate::settings::Settings;
use clap::Args;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIME_LIMIT: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct Healthcheck {
    /// What to ask instead: http://HOST:PORT/PATH.
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,

    /// The relay's admin address; /healthz is asked there.
    #[arg(long, value_name = "ADDR", env = "HANDFAST_RELAY_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,

    /// The relay's TOML file, which may name that address.
    #[arg(long, value_name = "FILE", env = "HANDFAST_RELAY_CONFIG")]
    config: Option<PathBuf>,
}

pub(crate) fn run(options: &Healthcheck) -> Result<(), Stop> {
    let url = options.url()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = |why: String| Stop::Failed(format!("{url}: {why}"));
    match runtime.block_on(async { timeout(TIME_LIMIT, ask(&url)).await }) {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("status {status}"))),
        Ok(Err(why)) => Err(failed(why)),
        Err(_) => Err(failed(format!("no answer in {} s", TIME_LIMIT.as_secs()))),
    }
}

impl Healthcheck {
    fn url(&self) -> Result<Uri, Stop> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let unknown = || Stop::Failed("the relay has no admin address: give --url or --admin-listen".to_owned());
        let address = match (&self.admin_listen, &self.config) {
            (Some(address), _) => Some(*address),
            (None, Some(path)) => Settings::default().over_file(path).map_err(Stop::Failed)?.admin_listen,
            (None, None) => None,
        };
        let mut address = address.ok_or_else(unknown)?;
        address.set_ip(reachable(address.ip()));
        format!("http://{address}/healthz").parse().map_err(|_| unknown())
    }
}

/// From this machine, an address that stands for all of its own is reached by loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

async fn ask(url: &Uri) -> Result<StatusCode, String> {
    let authority = url.authority().filter(|_| url.scheme_str() == Some("http")).ok_or("not an http:// address")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)));
    let stream = stream.await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(url.path())
        .header(header::HOST, authority.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // In a task of its own: the relay closes right after its answer, which must not hide the answer.
    tokio::spawn(connection);
    sender.send_request(request).await.map(|answer| answer.status()).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_means_this_machine() {
        for (address, url) in [
            ("0.0.0.0:9474", "http://127.0.0.1:9474/healthz"),
            ("[::]:9474", "http://[::1]:9474/healthz"),
            ("192.0.2.1:80", "http://192.0.2.1:80/healthz"),
        ] {
            let options = Healthcheck { url: None, admin_listen: Some(address.parse().unwrap()), config: None };
            assert_eq!(options.url().unwrap(), url);
        }
    }
}
