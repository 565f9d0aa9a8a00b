//! The events of a run as JSON. The schema is in the README of this crate.

use crate::exit::Failed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use handfast::{
    Approval, AuthenticatedBy, EnrolledDevice, Event, Failure, IdentityPublicKey, Mode, Network, Purpose,
    ReleasedItems, Request,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// One event of a run. `entries`: the names of the bundle's entries, on a trusted device.
pub(crate) fn event(event: &Event, entries: &[String]) -> Option<Value> {
    Some(match event {
        Event::Connecting { relay } => json!({"event": "connecting", "relay": relay.to_string()}),
        Event::Connected => json!({"event": "connected"}),
        Event::Reconnecting { attempt, wait, why } => {
            json!({"event": "reconnecting", "attempt": attempt, "wait_ms": milliseconds(*wait), "why": why})
        }
        Event::ShowCode { code, until } => {
            json!({"event": "show_code", "code": code.reveal().to_string(), "expires_in_ms": left(*until)})
        }
        Event::ShowQr { qr, until } => json!({
            "event": "show_qr",
            "uri": qr.to_uri().reveal().as_str(),
            "mode": mode(qr.kind.mode()),
            "purpose": purpose(qr.kind.purpose()),
            "expires_in_ms": left(*until),
        }),
        Event::OfferOver { failure, next_in } => json!({
            "event": "offer_over",
            "failure": name(failure),
            "message": failure.to_string(),
            "next_in_ms": milliseconds(*next_in),
        }),
        Event::PeerHere => json!({"event": "peer_here"}),
        Event::PeerAway { until } => json!({"event": "peer_away", "until_ms": until.map(left)}),
        Event::PeerFreed => json!({"event": "peer_freed"}),
        Event::ThirdClaim => json!({"event": "third_claim"}),
        Event::Account { label, id, trusted_name, trusted_identity, own_identity } => json!({
            "event": "account",
            "account": label.as_str(),
            "account_id": hex::encode(id.0),
            "trusted_name": trusted_name,
            "trusted_fingerprint": fingerprint(trusted_identity),
            "fingerprint": fingerprint(own_identity),
        }),
        Event::ShowCheckCode(code) => json!({"event": "show_check_code", "check_code": code.reveal().replace(' ', "")}),
        Event::AskCheckCode => json!({"event": "ask_check_code"}),
        Event::AskApproval(approval) => ask_approval(approval, entries),
        Event::AskDifferentNetwork => json!({"event": "ask_different_network"}),
        Event::GrantSent => json!({"event": "grant_sent"}),
        Event::Stored => json!({"event": "stored"}),
        _ => return None,
    })
}

/// The event of a failure inside a run that goes on.
fn name(failure: &Failure) -> &'static str {
    crate::exit::Exit::from(failure).name()
}

pub(crate) fn fingerprint(identity: &IdentityPublicKey) -> String {
    identity.fingerprint()
}

pub(crate) fn enrolled(device: &EnrolledDevice) -> Value {
    json!({
        "event": "done",
        "outcome": "enrolled",
        "device": device.name,
        "platform": device.platform,
        "fingerprint": fingerprint(&device.identity),
    })
}

pub(crate) fn unlocked(items: &ReleasedItems) -> Value {
    let entries: Vec<Value> = items
        .entries
        .iter()
        .map(|(name, value)| json!({"name": name.as_str(), "base64": *Zeroizing::new(STANDARD.encode(value.expose()))}))
        .collect();
    let key = items.unlock_key.as_ref().map(|key| Zeroizing::new(hex::encode(key.expose())));
    json!({"event": "done", "outcome": "unlocked", "unlock_key_hex": key.as_deref(), "entries": entries})
}

/// The last event of a command that failed. `limit` and `retry_after_ms` only where the relay named a limit.
pub(crate) fn failed(failed: &Failed) -> Value {
    let mut value = json!({
        "event": "failed",
        "failure": failed.exit.name(),
        "exit_code": failed.exit.code(),
        "message": failed.message,
    });
    if let (Some(limit), Value::Object(fields)) = (failed.limit, &mut value) {
        fields.insert("limit".into(), limit.name.into());
        fields.insert("retry_after_ms".into(), limit.retry_after_ms.into());
    }
    value
}

pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Code => "code",
        Mode::QrNew => "qr-new",
        Mode::QrTrusted => "qr-trusted",
    }
}

pub(crate) fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Enroll => "enroll",
        Purpose::Unlock => "unlock",
    }
}

fn ask_approval(approval: &Approval, entries: &[String]) -> Value {
    let leaves = match &approval.request {
        Request::Bundle => json!({"bundle": true, "unlock_key": true, "entries": entries}),
        Request::Items { unlock_key, entries } => json!({
            "bundle": false,
            "unlock_key": unlock_key,
            "entries": entries.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        }),
    };
    let network = match approval.network {
        Network::Same => "same",
        Network::Different => "different",
        Network::Unknown => "unknown",
    };
    let authenticated_by = match approval.authenticated_by {
        AuthenticatedBy::Code => "code",
        AuthenticatedBy::CheckCode => "check_code",
        AuthenticatedBy::RecordedIdentities => "recorded_identities",
    };
    let recorded = approval
        .recorded
        .as_ref()
        .map(|device| json!({"name": device.name, "let_this_device_in": device.let_this_device_in}));
    json!({
        "event": "ask_approval",
        "purpose": purpose(approval.purpose),
        "leaves": leaves,
        "name": approval.name,
        "platform": approval.platform,
        "fingerprint": fingerprint(&approval.identity),
        "relay_says_network": network,
        "authenticated_by": authenticated_by,
        "recorded": recorded,
    })
}

fn left(until: Instant) -> u64 {
    milliseconds(until.saturating_duration_since(Instant::now()))
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A line on stdin.
pub(crate) enum Decision {
    Approve,
    ApproveDifferentNetwork,
    Refuse,
    CheckCode(String),
    Code(String),
    Cancel,
}

/// Reads a decision. The error never repeats the line: it may hold a code.
pub(crate) fn decision(line: &str) -> Result<Decision, Failed> {
    let not_understood = || {
        Failed::usage(
            "a line on stdin is not a decision: write {\"decision\":\"approve\"}, \"approve_different_network\", \"refuse\", \
             \"cancel\", \"code\" or \"check_code\", the last two with \"code\":\"...\"",
        )
    };
    let value: Value = serde_json::from_str(line).map_err(|_| not_understood())?;
    let code = || value.get("code").and_then(Value::as_str).map(str::to_owned).ok_or_else(not_understood);
    match value.get("decision").and_then(Value::as_str) {
        Some("approve") => Ok(Decision::Approve),
        Some("approve_different_network") => Ok(Decision::ApproveDifferentNetwork),
        Some("refuse") => Ok(Decision::Refuse),
        Some("cancel") => Ok(Decision::Cancel),
        Some("check_code") => Ok(Decision::CheckCode(code()?)),
        Some("code") => Ok(Decision::Code(code()?)),
        _ => Err(not_understood()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_read() {
        assert!(matches!(decision(r#"{"decision":"approve"}"#), Ok(Decision::Approve)));
        let second = decision(r#"{"decision":"approve_different_network"}"#);
        assert!(matches!(second, Ok(Decision::ApproveDifferentNetwork)));
        assert!(matches!(decision(r#" {"decision":"refuse","x":1} "#), Ok(Decision::Refuse)));
        assert!(matches!(decision(r#"{"decision":"cancel"}"#), Ok(Decision::Cancel)));
        assert!(
            matches!(decision(r#"{"decision":"check_code","code":"123456"}"#), Ok(Decision::CheckCode(c)) if c == "123456")
        );
    }

    #[test]
    fn anything_else_is_refused_without_repeating_it() {
        for line in
            ["", "y", "{}", r#"{"decision":"yes"}"#, r#"{"decision":"check_code"}"#, r#"{"code":"7K3MQ2RX9TDH"}"#]
        {
            let failed = decision(line).err().unwrap();
            assert_eq!(failed.exit, crate::exit::Exit::Usage);
            assert!(!failed.message.contains("7K3M"), "{line}");
        }
    }

    #[test]
    fn a_failure_inside_a_run_has_the_name_of_its_exit_code() {
        let over = Event::OfferOver { failure: Failure::WrongCode, next_in: Duration::from_secs(60) };
        let value = event(&over, &[]).unwrap();
        assert_eq!(value.get("failure").unwrap(), "wrong_code");
        assert_eq!(value.get("next_in_ms").unwrap(), 60_000);
    }

    #[test]
    fn an_approval_says_how_the_device_was_authenticated_and_by_whose_record() {
        let mut approval = Approval {
            purpose: Purpose::Unlock,
            request: Request::Items { unlock_key: true, entries: vec![] },
            identity: handfast::protocol::device::DeviceKey::from_secret(handfast::Secret::new([1; 32])).identity(),
            name: "anything".into(),
            platform: String::new(),
            network: Network::Same,
            authenticated_by: AuthenticatedBy::CheckCode,
            recorded: None,
        };
        let value = ask_approval(&approval, &[]);
        assert_eq!(
            (value.get("authenticated_by"), value.get("recorded")),
            (Some(&json!("check_code")), Some(&json!(null)))
        );
        approval.authenticated_by = AuthenticatedBy::RecordedIdentities;
        approval.recorded = Some(handfast::RecordedDevice { name: "adas-laptop".into(), let_this_device_in: false });
        let value = ask_approval(&approval, &[]);
        assert_eq!(value.get("authenticated_by"), Some(&json!("recorded_identities")));
        assert_eq!(value.get("recorded"), Some(&json!({"name": "adas-laptop", "let_this_device_in": false})));
    }
}
