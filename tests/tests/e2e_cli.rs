//! `handfast` and `handfast-relay` as separate processes: what people do with them, start to end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::process::{Device, Ended, RelayProcess, Session, another_code, zbarimg};
use handfast_tests::e2e::proxy::Proxy;
use handfast_tests::e2e::tls::TlsProxy;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const SECRET: &[u8] = b"\x00\xffSECRET-OF-THE-BUNDLE\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_family_of_devices() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let [desktop, laptop, phone, guest] =
        ["desktop", "laptop", "phone", "guest"].map(|name| Device::new(home.path(), name, &relay.url()));
    desktop.init().await;
    desktop.set("token", SECRET).await;
    desktop.set("other", b"not for guests").await;

    // By code.
    let mut invite = desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let mut join = laptop.start(&["join", &code, "--name", "adas-laptop"]);
    let question = invite.event("ask_approval").await;
    assert_eq!((&question["name"], &question["purpose"]), (&json!("adas-laptop"), &json!("enroll")));
    assert_eq!(question["leaves"], json!({"bundle": true, "unlock_key": true, "entries": ["other", "token"]}));
    assert_eq!(question["relay_says_network"], "same");
    assert_eq!((&question["authenticated_by"], &question["recorded"]), (&json!("code"), &Value::Null));
    let account = join.event("account").await;
    assert_eq!(account["fingerprint"], question["fingerprint"], "something to compare before the answer");
    assert!(!laptop.profile().join("profile.json").exists(), "nothing is stored before the approval");
    invite.decide("approve").await;
    let (invited, joined) = (invite.end().await, join.end().await);
    assert_eq!((invited.code(), joined.code()), (Some(0), Some(0)), "{invited:?} {joined:?}");
    assert_eq!(invited.last()["outcome"], "enrolled");
    assert_eq!(joined.last()["outcome"], "joined");
    assert_eq!(joined.last()["bundle_entries"], 2);
    assert_eq!(invited.last()["fingerprint"], question["fingerprint"]);
    assert_eq!(joined.last()["fingerprint"], question["fingerprint"]);
    let status = desktop.ok(&["status"]).await;
    assert_eq!(account["trusted_fingerprint"], status["fingerprint"]);
    assert_eq!(laptop.get("token").await, SECRET);
    assert_eq!(desktop.devices().await, [("adas-laptop".into(), true)]);

    // The laptop lets in the phone, by a QR code that the phone reads as an image.
    let png = home.path().join("invite.png");
    let mut invite = laptop.start(&["invite", "--qr", "--qr-png", path(&png)]);
    let uri = text(&invite.event("show_qr").await, "uri");
    assert_eq!(zbarimg(&png).await, uri, "an independent reader reads the same");
    let mut join = phone.start(&["join", "--scan", path(&png), "--name", "adas-phone"]);
    carry_digits(&mut join, &mut invite).await;
    invite.event("ask_approval").await;
    invite.decide("approve").await;
    assert_eq!((invite.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
    assert!(!png.exists(), "the picture goes with the run");
    assert_eq!(phone.get("token").await, SECRET);
    assert_eq!(laptop.devices().await, [("adas-phone".into(), true)]);

    // The phone unlocks one entry for a machine that keeps nothing.
    let png = home.path().join("unlock.png");
    let mut unlock = guest.start(&["unlock", "token", "--qr-png", path(&png)]);
    unlock.event("show_qr").await;
    let mut approve = phone.start(&["approve", "--scan", path(&png)]);
    carry_digits(&mut approve, &mut unlock).await;
    let question = approve.event("ask_approval").await;
    assert_eq!(question["leaves"], json!({"bundle": false, "unlock_key": false, "entries": ["token"]}));
    assert_eq!((&question["authenticated_by"], &question["recorded"]), (&json!("check_code"), &Value::Null));
    approve.decide("approve").await;
    let (approved, unlocked) = (approve.end().await, unlock.end().await);
    assert_eq!(approved.last()["outcome"], "delivered");
    let unlocked = unlocked.last();
    assert_eq!(unlocked["unlock_key_hex"], Value::Null);
    assert_eq!(unlocked["entries"], json!([{"name": "token", "base64": "AP9TRUNSRVQtT0YtVEhFLUJVTkRMRQo="}]));
    assert!(!guest.profile().exists());

    // The laptop gets the unlock key from the phone that it let in: they know each other, so no digits.
    let png = home.path().join("key.png");
    let mut unlock = laptop.start(&["unlock", "--qr-png", path(&png)]);
    unlock.event("show_qr").await;
    let mut approve = phone.start(&["approve", "--scan", path(&png)]);
    let question = approve.event("ask_approval").await;
    assert_eq!(question["authenticated_by"], "recorded_identities");
    assert_eq!(question["recorded"], json!({"name": "adas-laptop", "let_this_device_in": true}));
    approve.decide("approve").await;
    let (approved, unlocked) = (approve.end().await, unlock.end().await);
    assert!(!approved.events().iter().any(|event| event["event"] == "show_check_code"));
    assert_eq!(unlocked.last()["unlock_key_hex"].as_str().unwrap().len(), 64);

    // Forgotten, the laptop is nothing any more.
    laptop.ok(&["forget", "--yes"]).await;
    laptop.run(&["status"]).await.assert_failed(3, "no_profile");
    assert!(!laptop.profile().join("device.key").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_shows_the_qr_code() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    let png = home.path().join("join.png");
    let mut join = laptop.start(&["join", "--qr", "--qr-png", path(&png)]);
    let shown = join.event("show_qr").await;
    assert_eq!((&shown["mode"], &shown["purpose"]), (&json!("qr-new"), &json!("enroll")));
    // What the other program reads is typed into stdin, as from a scanner.
    let uri = zbarimg(&png).await;
    let mut approve = desktop.start(&["approve", "--scan", "-"]);
    approve.write(&uri).await;
    carry_digits(&mut approve, &mut join).await;
    approve.event("ask_approval").await;
    approve.decide("approve").await;
    assert_eq!((approve.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
    assert_eq!(laptop.get("token").await, SECRET);
}

/// Without `--json`: a person with a keyboard, here a pipe.
#[tokio::test(flavor = "multi_thread")]
async fn people_read_and_type_text() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    let listed = desktop.run_plain(&["bundle", "list"], b"").await;
    assert!(String::from_utf8(listed.stdout).unwrap().starts_with("token  (23 bytes)\n"));
    let mut invite = desktop.start(&["invite", "--yes"]);
    let code = text(&invite.event("show_code").await, "code");
    // In lower case, without dashes, after a slip that costs nothing.
    let typed = format!("{}\n{}\n", typo(&code), code.replace('-', "").to_lowercase());
    let joined = laptop.run_plain(&["join"], typed.as_bytes()).await;
    assert_eq!(joined.code(), Some(0), "{joined:?}");
    assert!(joined.stderr.contains("Nothing was sent"), "{}", joined.stderr);
    assert!(joined.stderr.contains("ada.private@example.com"), "whose account it is: {}", joined.stderr);
    assert_eq!(invite.end().await.code(), Some(0));
    let status = laptop.run_plain(&["status"], b"").await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("ada.private@example.com") && status.contains("0600"), "{status}");
}

/// The relay says that the networks differ: a script that says yes twice has said it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_approve_does_not_answer_the_second_question() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    let elsewhere = Proxy::start_elsewhere(relay.address()).await;
    let mut invite = desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let join = laptop.through(&elsewhere.url()).start(&["join", &code]);
    assert_eq!(invite.event("ask_approval").await["relay_says_network"], "different");
    invite.decide("approve").await;
    invite.event("ask_different_network").await;
    invite.decide("approve").await;
    assert!(text(&invite.event("ignored").await, "why").contains("approve_different_network"));
    invite.decide("approve_different_network").await;
    assert_eq!((invite.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
}

/// An unlock without digits from another network, in front of a person: which device it is by this device's own record,
/// whether it is near, and a second question that the first one's key does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_needs_another_word_for_the_second_question() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    pair(&desktop, &laptop).await;
    let elsewhere = Proxy::start_elsewhere(relay.address()).await;
    // The QR code names the proxy, which the desktop has no use for.
    for (typed, exit) in [("n\ny\ny\n", 8), ("n\ny\n\n", 8), ("n\ny\ndifferent\n", 0)] {
        let png = home.path().join("unlock.png");
        let mut unlock = laptop.through(&elsewhere.url()).start(&["unlock", "--qr-png", path(&png)]);
        unlock.event("show_qr").await;
        let approved = desktop.run_plain(&["approve", "--scan", path(&png)], typed.as_bytes()).await;
        assert_eq!((approved.code(), unlock.end().await.code()), (Some(exit), Some(exit)), "{typed:?}: {approved:?}");
        for part in
            ["hold in your hands", "On record here as    \"adas-laptop\"", "in front of you?", "different networks"]
        {
            assert!(approved.stderr.contains(part), "{part}: {}", approved.stderr);
        }
    }
}

/// A person who is asked for the code types a wrong one: it is dead, and not taken again.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_wrong_is_not_taken_again() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    let mut invite = desktop.start(&["invite", "--yes"]);
    let wrong = another_code(&text(&invite.event("show_code").await, "code"));
    let mut join = laptop.start_plain(&["join"]);
    join.write(&wrong).await;
    assert_eq!(invite.event("offer_over").await["failure"], "wrong_code");
    let next = text(&invite.event("show_code").await, "code");
    join.write(&wrong.to_lowercase()).await;
    join.write(&next).await;
    let joined = join.end().await;
    assert_eq!((joined.code(), invite.end().await.code()), (Some(0), Some(0)), "{joined:?}");
    assert_eq!(joined.stderr.matches("That code is dead. Nothing was sent").count(), 1, "{}", joined.stderr);

    // Nobody there to type the next one.
    let other = Device::new(home.path(), "other", &relay.url());
    let mut invite = desktop.start(&["invite", "--yes"]);
    let wrong = another_code(&text(&invite.event("show_code").await, "code"));
    let joined = other.run_plain(&["join"], format!("{wrong}\n").as_bytes()).await;
    assert_eq!(joined.code(), Some(6), "{joined:?}");
    assert!(joined.stderr.contains("is dead now"), "{}", joined.stderr);
    invite.decide("cancel").await;
    invite.end().await.assert_failed(130, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_private_authority() {
    let relay = RelayProcess::start(&[]).await;
    let home = TempDir::new().unwrap();
    let authority = home.path().join("authority.pem");
    let tls = TlsProxy::start(relay.address(), &authority).await;
    let (desktop, laptop) = devices(home.path(), &tls.url()).await;
    let message = desktop.run(&["invite"]).await;
    let message = message.last()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("certificate"), "{message}");
    let trusting = |device: &Device| device.clone().environment("SSL_CERT_FILE", path(&authority));
    let (invited, joined) = pair(&trusting(&desktop), &trusting(&laptop)).await;
    assert_eq!((invited.code(), joined.code()), (Some(0), Some(0)), "{invited:?} {joined:?}");
    assert_eq!(laptop.get("token").await, SECRET);
}

/// The devices' screens show secrets to their people. Neither the relay's log at its most talkative nor what the
/// commands write to stderr has any.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_a_secret() {
    let relay = RelayProcess::start(&["--claim-timeout", "1"]).await;
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    let mut secrets = vec!["SECRET-OF-THE-BUNDLE".to_owned(), "ada.private".into(), "adas-desktop".into()];
    let mut logs = String::new();

    let (invited, joined) = pair(&desktop, &laptop).await;
    let png = home.path().join("key.png");
    let mut unlock = laptop.start(&["unlock", "--qr-png", path(&png)]);
    unlock.event("show_qr").await;
    let approved = desktop.run(&["approve", "--scan", path(&png), "--yes"]).await;
    let unlocked = unlock.end().await;
    let guest = Device::new(home.path(), "guest", &relay.url());
    let mut unlock = guest.start(&["unlock", "token", "--qr-png", path(&png)]);
    unlock.event("show_qr").await;
    let mut approve = desktop.start(&["approve", "--scan", path(&png), "--yes"]);
    carry_digits(&mut approve, &mut unlock).await;
    let wrong = laptop.run(&["join", "AAAA-AAAA-AAAA"]).await;
    for ended in [invited, joined, approved, unlocked, approve.end().await, unlock.end().await, wrong] {
        for event in ended.events() {
            for field in ["code", "uri", "check_code", "unlock_key_hex"] {
                secrets.extend(event[field].as_str().map(str::to_owned));
            }
        }
        logs.push_str(&ended.stderr);
    }
    for secret in secrets.clone() {
        if let Some(digits) = secret.strip_prefix("HANDFAST:/") {
            secrets.push(digits[20..60].to_owned());
        } else if secret.len() == 14 {
            // The nameplate too, and the code without dashes.
            secrets.extend([secret[..5].to_owned(), secret.replace('-', "")]);
        }
    }
    assert!(secrets.len() > 10, "{secrets:?}");
    assert!(relay.log().contains("DEBUG"), "the relay is as talkative as it can be: {}", relay.log());
    logs.push_str(&relay.log());
    for secret in secrets {
        assert!(!logs.contains(&secret), "{secret:?} is in a log:\n{logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_and_started_again_is_told_from_a_lost_connection() {
    let relay = RelayProcess::start(&[]).await;
    let address = relay.address().to_string();
    let home = TempDir::new().unwrap();
    let (desktop, laptop) = devices(home.path(), &relay.url()).await;
    let mut invite = desktop.start(&["invite"]);
    let code = text(&invite.event("show_code").await, "code");
    let mut join = laptop.start(&["join", &code]);
    invite.event("ask_approval").await;
    join.event("account").await;
    relay.kill().await;
    let relay = RelayProcess::start_at(&address, &[]).await;
    join.end().await.assert_failed(13, "relay_refused");
    // The new device has to start again; the trusted one shows a new code by itself.
    assert_eq!(invite.event("offer_over").await["failure"], "relay_refused");
    let code = text(&invite.event("show_code").await, "code");
    let join = laptop.start(&["join", &code]);
    invite.event("ask_approval").await;
    invite.decide("approve").await;
    assert_eq!((invite.end().await.code(), join.end().await.code()), (Some(0), Some(0)));
    relay.terminate();
}

async fn devices(home: &Path, relay: &str) -> (Device, Device) {
    let (desktop, laptop) = (Device::new(home, "desktop", relay), Device::new(home, "laptop", relay));
    desktop.init().await;
    desktop.set("token", SECRET).await;
    (desktop, laptop)
}

/// Lets a device in by code.
async fn pair(desktop: &Device, laptop: &Device) -> (Ended, Ended) {
    let mut invite = desktop.start(&["invite", "--yes"]);
    let code = text(&invite.event("show_code").await, "code");
    let joined = laptop.run(&["join", &code, "--name", "adas-laptop"]).await;
    (invite.end().await, joined)
}

/// The person reads the digits on one screen and types them on the other device.
async fn carry_digits(from: &mut Session, to: &mut Session) {
    let digits = text(&from.event("show_check_code").await, "check_code");
    to.event("ask_check_code").await;
    to.enter(&digits).await;
}

/// The code with a wrong symbol.
fn typo(code: &str) -> String {
    let last = if code.ends_with('7') { '8' } else { '7' };
    format!("{}{last}", &code[..code.len() - 1])
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or_else(|| panic!("no {field} in {event}")).to_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
