//! What is never printed and never sent in the clear.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use handfast_protocol::pairing::qr::QrPayload;
use handfast_protocol::secret::SecretBytes;
use handfast_protocol::{Decision, Event, Way};
use handfast_tests::sim::{Pair, ROLES, Scenario, entry, info};

const ENTRY: &str = "the value of the entry, which nobody may see";
const ACCOUNT: &str = "alex@example.org";

/// Texts that hold a secret of this run, and byte strings that do.
fn secrets(pair: &Pair) -> (Vec<String>, Vec<Vec<u8>>) {
    let bundle = &pair.scenario.cast.bundle;
    let mut bytes = vec![
        ENTRY.as_bytes().to_vec(),
        bundle.unlock_key.expose().to_vec(),
        bundle.sign_in_secret.expose().to_vec(),
        pair.scenario.cast.trusted.key.secret_for_key_store().expose().to_vec(),
        pair.scenario.cast.new.key.secret_for_key_store().expose().to_vec(),
    ];
    let mut texts = vec![ENTRY.to_owned()];
    for device in &pair.sim.devices {
        for event in &device.events {
            match event {
                Event::ShowCode { code, .. } => {
                    let shown = code.reveal().to_string();
                    // The nameplate is all that a relay learns.
                    bytes.push(shown.replace('-', "").as_bytes()[4..11].to_vec());
                    texts.extend(shown.split('-').map(str::to_owned));
                    texts.push(shown.replace('-', ""));
                    texts.push(code.nameplate().number().to_string());
                }
                Event::ShowQr { qr, .. } => {
                    let uri = qr.to_uri();
                    let (_, digits) = uri.reveal_segments();
                    bytes.push(digits.as_bytes()[..34].to_vec());
                    texts.push(digits[..34].to_owned());
                }
                Event::ShowCheckCode(code) => {
                    let shown = code.reveal();
                    bytes.push(shown.replace(' ', "").into_bytes());
                    texts.extend([shown.replace(' ', ""), shown]);
                }
                _ => {}
            }
        }
    }
    // As derived `Debug` would print them, whole or from any start.
    texts.extend(bytes.iter().map(|bytes| format!("{:?}", &bytes[..6])).map(|list| list.replace(['[', ']'], "")));
    (texts, bytes)
}

fn scenarios() -> Vec<Scenario> {
    let mut scenarios = Scenario::all(1);
    for scenario in &mut scenarios {
        scenario.cast.bundle.set(entry("token"), SecretBytes::new(ENTRY.as_bytes().to_vec())).unwrap();
        scenario.cast.new.info = info("Carla's notebook", "an unusual platform");
        scenario.cast.trusted.info = info("Carla's telephone", "an unusual platform");
    }
    scenarios
}

#[test]
fn no_debug_output_of_a_run_holds_a_secret() {
    for scenario in scenarios() {
        let mut pair = Pair::begun(scenario, 1);
        let mut printed = Vec::new();
        loop {
            for device in &pair.sim.devices {
                printed.push(format!("{:?} {:?}", device.engine, device.outcome));
            }
            if !pair.step() {
                break;
            }
        }
        pair.assert_success();
        let cast = &pair.scenario.cast;
        printed.push(format!("{:?} {:?} {:?}", cast.trusted, cast.new, cast.bundle));
        printed.push(format!("{:?}", pair.introduction()));
        for device in &pair.sim.devices {
            printed.extend(device.trace.iter().cloned());
            printed.push(format!("{:?} {:?} {:?}", device.events, device.stored, device.prepared));
            for event in &device.events {
                if let Event::ShowCheckCode(code) = event {
                    printed.push(format!("{:?}", Decision::CheckCode(code.clone())));
                }
            }
        }
        let (texts, _) = secrets(&pair);
        for line in &printed {
            for secret in &texts {
                assert!(!line.contains(secret), "{}: {secret:?} in {line}", pair.scenario.name());
            }
        }
    }
}

/// A frame names the mailbox and the token that resumes it, so its bytes do not print either.
#[test]
fn the_debug_output_of_a_frame_is_its_length() {
    let pair = Pair::begun(scenarios().remove(0), 2);
    let sent = &pair.sim.devices[1].sent[0];
    assert_eq!(pair.sim.devices[1].trace[0], format!("Send({} bytes)", sent.len()));
}

#[test]
fn no_frame_holds_a_secret_an_account_or_a_name() {
    for scenario in scenarios() {
        let mut pair = Pair::begun(scenario, 3);
        pair.finish();
        pair.assert_success();
        let (_, mut secrets) = secrets(&pair);
        for text in [ACCOUNT, "Carla", "unusual", "token"] {
            secrets.push(text.as_bytes().to_vec());
        }
        let cast = &pair.scenario.cast;
        secrets.push(cast.trusted.account.id.0.to_vec());
        secrets.extend(ROLES.map(|role| cast.identity(role).as_bytes().to_vec()));
        for device in &pair.sim.devices {
            for frame in device.sent.iter().chain(&device.received) {
                for secret in &secrets {
                    let found = frame.windows(secret.len()).any(|window| window == secret);
                    assert!(!found, "{}: {:?}", pair.scenario.name(), String::from_utf8_lossy(secret));
                }
            }
        }
    }
}

/// A QR code's secret is not its text alone: what a relay sees of it is a mailbox id that depends on the secret.
#[test]
fn two_runs_share_nothing_that_a_relay_could_link() {
    let introduction = |seed| {
        let pair = Pair::shown(Scenario::enroll(handfast_protocol::pairing::Mode::QrNew, 1), seed);
        let Way::ReadQr(qr) = pair.introduction() else { panic!("a QR code is shown") };
        let text = qr.to_uri().reveal().to_string();
        (QrPayload::parse(&text, &[]).unwrap(), pair.sim.devices[0].sent.clone())
    };
    let ((first_qr, first), (second_qr, second)) = (introduction(1), introduction(2));
    assert_ne!(first_qr, second_qr);
    for (one, other) in first.iter().zip(&second) {
        let equal = one.iter().zip(other).filter(|(one, other)| one == other).count();
        assert!(equal < one.len() / 16 + 16, "{equal} of {} bytes are the same for one device", one.len());
    }
}
