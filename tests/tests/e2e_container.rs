//! The relay's image: what is in it, how it runs without privileges, and `handfast` through it while it is told to stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use handfast_tests::e2e::balancer::deploy_folder;
use handfast_tests::e2e::process::Device;
use handfast_tests::e2e::{http, soon};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const IMAGE: &str = "localhost/handfast-relay-test";

/// The image's drain time.
const DRAIN: Duration = Duration::from_secs(8);

/// Exit code of podman itself, when no program ran.
const PODMAN_FAILED: i32 = 125;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds the image: tests/run container"]
async fn the_image() {
    let engine = Engine::new();
    engine.build().await;
    the_image_says_what_it_is(&engine).await;
    one_file_is_in_it(&engine).await;

    let version = engine.podman(&["run", "--rm", IMAGE, "--version"]).output().await.unwrap();
    if version.status.code() == Some(PODMAN_FAILED) {
        println!("skipped: no container can run on this machine: {}", stderr(&version));
        return;
    }
    assert_eq!(stdout(&version), format!("handfast-relay {}\n", env!("CARGO_PKG_VERSION")), "{version:?}");

    it_runs_without_privileges_and_pairs(&engine).await;
    a_pairing_finishes_while_it_drains(&engine).await;
    a_device_that_waits_does_not_hold_it_up(&engine).await;
}

async fn the_image_says_what_it_is(engine: &Engine) {
    let inspected: Value = serde_json::from_str(&engine.ok(&["image", "inspect", IMAGE]).await).unwrap();
    let image = &inspected[0];
    assert!(image["Size"].as_u64().unwrap() < 12_000_000, "{}", image["Size"]);
    println!("size of the image: {} bytes", image["Size"]);
    let config = &image["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/handfast-relay"]));
    assert_eq!(config["Cmd"], json!(["serve"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["ExposedPorts"], json!({"8474/tcp": {}, "8475/tcp": {}}));
    assert_eq!(config["Volumes"], Value::Null);
    assert_eq!(image["Healthcheck"]["Test"], json!(["CMD", "/handfast-relay", "healthcheck"]));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"), "Containerfile and Cargo.toml");
    assert_eq!(labels["org.opencontainers.image.title"], "handfast-relay");
    assert_eq!(labels["org.opencontainers.image.licenses"], "MIT OR Apache-2.0");
    assert_ne!(labels["org.opencontainers.image.revision"], "");
    for needed in [
        "HANDFAST_RELAY_LISTEN=0.0.0.0:8474",
        "HANDFAST_RELAY_ADMIN_LISTEN=0.0.0.0:8475",
        "HANDFAST_RELAY_LOG_FORMAT=json",
        &format!("HANDFAST_RELAY_DRAIN_SECONDS={}", DRAIN.as_secs()),
    ] {
        assert!(config["Env"].as_array().unwrap().iter().any(|variable| variable == needed), "{needed}");
    }
}

async fn one_file_is_in_it(engine: &Engine) {
    let folder = engine.folder.path().join("image");
    let saved = folder.with_extension("tar");
    engine.ok(&["save", "--format", "docker-archive", "--output", saved.to_str().unwrap(), IMAGE]).await;
    std::fs::create_dir(&folder).unwrap();
    tar(&["-xf", saved.to_str().unwrap(), "-C", folder.to_str().unwrap()]).await;
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut files = String::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let layer = folder.join(layer.as_str().unwrap());
        write!(files, "{}", tar(&["--numeric-owner", "-tvf", layer.to_str().unwrap()]).await).unwrap();
    }
    let fields: Vec<_> = files.split_whitespace().collect();
    assert_eq!((fields[0], fields[1], fields[5]), ("-rwxr-xr-x", "0/0", "handfast-relay"), "{files}");
    assert_eq!(fields.len(), 6, "nothing else: {files}");
}

async fn it_runs_without_privileges_and_pairs(engine: &Engine) {
    let relay = engine.run("pairs").await;
    engine.ok(&["healthcheck", "run", "pairs"]).await;
    let nobody = engine.podman(&["run", "--rm", IMAGE, "healthcheck"]).output().await.unwrap();
    assert_eq!(nobody.status.code(), Some(1), "a health check where no relay runs: {nobody:?}");

    let home = TempDir::new().unwrap();
    let [desktop, laptop] = ["desktop", "laptop"].map(|name| Device::new(home.path(), name, &relay.url()));
    desktop.init().await;
    desktop.set("token", b"through a container").await;
    let mut invite = desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let join = laptop.start(&["join", &code, "--name", "adas-laptop"]);
    invite.event("ask_approval").await;
    invite.decide("approve").await;
    let (invited, joined) = (invite.end().await, join.end().await);
    assert_eq!((invited.code(), joined.code()), (Some(0), Some(0)), "{invited:?} {joined:?}");
    assert_eq!(laptop.get("token").await, b"through a container");

    let stopped = Instant::now();
    engine.ok(&["stop", "pairs"]).await;
    assert!(stopped.elapsed() < DRAIN, "it has nothing to wait for: {:?}", stopped.elapsed());
    assert_eq!(engine.exit_code("pairs").await, "0");
    let output = engine.podman(&["logs", "pairs"]).output().await.unwrap();
    for line in stderr(&output).lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] == "INFO"), "{line}");
    }
    engine.ok(&["rm", "pairs"]).await;
}

async fn a_pairing_finishes_while_it_drains(engine: &Engine) {
    let relay = engine.run("drains").await;
    let home = TempDir::new().unwrap();
    let [desktop, laptop, other] =
        ["desktop", "laptop", "other"].map(|name| Device::new(home.path(), name, &relay.url()));
    desktop.init().await;
    desktop.set("token", b"while it drains").await;
    other.init().await;
    other.set("token", b"too late").await;
    let mut invite = desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let join = laptop.start(&["join", &code, "--name", "adas-laptop"]);
    invite.event("ask_approval").await;

    let (stop, stopped) = (engine.stop("drains"), Instant::now());
    http::answers(relay.admin, "/readyz", 503).await;
    assert_eq!(http::get(relay.admin, "/healthz").await.unwrap().status, 200, "it is not ready, but well");
    let refused = other.run(&["invite"]).await;
    let why = refused.assert_failed(13, "relay_refused");
    assert!(stopped.elapsed() < DRAIN, "it was told so, not cut off: {why}");

    invite.decide("approve").await;
    let (invited, joined) = (invite.end().await, join.end().await);
    assert_eq!((invited.code(), joined.code()), (Some(0), Some(0)), "{invited:?} {joined:?}");
    assert_eq!(laptop.get("token").await, b"while it drains");
    done(stop).await;
    assert!(stopped.elapsed() < DRAIN, "it ends with the last pairing: {:?}", stopped.elapsed());
    assert_eq!(engine.exit_code("drains").await, "0");
    engine.ok(&["rm", "drains"]).await;
}

async fn a_device_that_waits_does_not_hold_it_up(engine: &Engine) {
    let relay = engine.run("waits").await;
    let home = TempDir::new().unwrap();
    let desktop = Device::new(home.path(), "desktop", &relay.url());
    desktop.init().await;
    desktop.set("token", b"never sent").await;
    let mut invite = desktop.start(&["invite"]);
    invite.event("show_code").await;
    let (stop, stopped) = (engine.stop("waits"), Instant::now());
    done(stop).await;
    let took = stopped.elapsed();
    assert_eq!(engine.exit_code("waits").await, "0", "ended by itself, after {took:?}");
    assert!(took < DRAIN + Duration::from_secs(2), "before the engine's kill: {took:?}");
    invite.interrupt();
    let ended = invite.end().await;
    assert!(matches!(ended.code(), Some(12 | 13 | 130)), "{ended:?}");
    engine.ok(&["rm", "waits"]).await;
}

/// podman with storage and state of its own, which go with it.
struct Engine {
    folder: TempDir,
}

/// A relay in a container, by its ports on loopback.
struct InContainer {
    relay: SocketAddr,
    admin: SocketAddr,
}

impl InContainer {
    fn url(&self) -> String {
        format!("ws://{}", self.relay)
    }
}

impl Engine {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
        };
        write("storage.conf", "[storage]\ndriver = 'vfs'\ngraphroot = 'FOLDER/graph'\nrunroot = 'FOLDER/run'\n");
        write(
            "containers.conf",
            "[containers]\ndefault_ulimits = ['nofile=12000:20000', 'nproc=10000:10000']\n\
             [engine]\nruntime = 'runc'\ncgroup_manager = 'cgroupfs'\nevents_logger = 'none'\ntmp_dir = 'FOLDER/tmp'\n\
             [network]\nnetwork_config_dir = 'FOLDER/networks'\n",
        );
        Self { folder }
    }

    /// As an operator builds it.
    async fn build(&self) {
        let output = self.command(&deploy_folder().join("build-image")).arg(IMAGE).output().await.unwrap();
        assert!(output.status.success(), "build-image: {}", stderr(&output));
    }

    async fn run(&self, name: &str) -> InContainer {
        self.ok(&[
            "run",
            "--detach",
            "--name",
            name,
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            "--publish=127.0.0.1::8474",
            "--publish=127.0.0.1::8475",
            IMAGE,
        ])
        .await;
        let relay = self.ok(&["port", name, "8474/tcp"]).await.trim().parse().unwrap();
        let admin = self.ok(&["port", name, "8475/tcp"]).await.trim().parse().unwrap();
        http::answers(admin, "/readyz", 200).await;
        InContainer { relay, admin }
    }

    /// Tells a container to stop, as engines do: a signal, and 10 s later a kill.
    fn stop(&self, name: &str) -> Child {
        self.podman(&["stop", name]).spawn().unwrap()
    }

    async fn exit_code(&self, name: &str) -> String {
        self.ok(&["inspect", "--format", "{{.State.ExitCode}}", name]).await.trim().to_owned()
    }

    /// Runs podman to its end, which must be a success; what it prints.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = soon(&format!("{arguments:?}"), self.podman(arguments).output()).await.unwrap();
        assert!(output.status.success(), "podman {arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn podman(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new("podman"));
        command.args(arguments);
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("CONTAINERS_STORAGE_CONF", self.folder.path().join("storage.conf"));
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Engine {
    /// Whatever a failed test left running. The rest lies in the folder.
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--all", "--force", "--time=0"]).into_std().output();
    }
}

async fn done(stop: Child) {
    let output = soon("the end of a container", stop.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

async fn tar(arguments: &[&str]) -> String {
    let output = Command::new("tar").args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap().to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
