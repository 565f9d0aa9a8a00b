//! `handfast demo`: every mode between two devices and a real relay, over real sockets, with a tap on both connections.
//!
//! It uses what every program can use: the SDK, the relay, and the screens that people read.

mod measure;
mod person;
mod runs;
mod search;
mod tap;

use crate::exit::{Exit, Failed};
use crate::session::Session;
use crate::ui::json::{mode, purpose};
use handfast_relay::{Config, Relay};
use runs::{Report, Stage};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tap::{Seen, Way};
use tokio::time::timeout;

/// Far more than any run takes.
const LONGEST_RUN: Duration = Duration::from_secs(20);

/// Runs the demonstration. Its last line is computed from what the taps saw and from how the runs ended.
pub(crate) async fn run(session: &mut Session) -> Result<(), Failed> {
    let relay = Relay::bind(
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        Config { drain_time: Duration::ZERO, ..Config::default() },
    )
    .await
    .map_err(Failed::internal)?
    .spawn();
    let mut stage = Stage::build(relay.addr())?;
    let mut reports = Vec::new();
    for scene in runs::ALL {
        print(session, &format!("{}\n", scene.title))?;
        let report = tokio::select! {
            report = timeout(LONGEST_RUN, stage.play(scene)) => match report {
                Ok(report) => report?,
                Err(_) => return Err(Failed::internal(format!("FAILED: \"{}\" did not end", scene.title))),
            },
            () = session.interrupted() => return Err(crate::session::cancelled()),
        };
        show(session, &report)?;
        reports.push(report);
    }
    relay.shutdown().await;
    conclude(session, &stage, &reports)
}

fn show(session: &mut Session, report: &Report) -> Result<(), Failed> {
    let mut lines: Vec<_> = report
        .moments
        .iter()
        .map(|moment| (moment.at, format!("{:14} {}", name(moment.device), moment.text)))
        .collect();
    for seen in &report.seen {
        if let Some(text) = measure::describe(seen) {
            let arrow = if seen.way == Way::ToRelay { "-> relay" } else { "<- relay" };
            lines.push((seen.at, format!("    {:14} {arrow}  {text}", name(seen.device))));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut text: String = lines
        .iter()
        .map(|(at, line)| format!("{:8.1} ms  {line}\n", at.duration_since(report.start).as_secs_f64() * 1000.0))
        .collect();
    text.push_str(&format!("             {}\n\n", verdict(report)));
    print(session, &text)?;
    session.ui.event(&json!({
        "event": "demo_run",
        "title": report.scene.title,
        "mode": mode(report.scene.mode),
        "purpose": purpose(report.scene.purpose),
        "expected": if report.scene.must_fail() { "refusal" } else { "pairing" },
        "ok": report.problems().is_empty(),
        "problems": report.problems(),
        "milliseconds": report.took.map(|took| took.as_secs_f64() * 1000.0),
        "wire_bytes": measure::bytes_sent(&report.seen),
        "wire_messages": measure::messages_sent(&report.seen),
        "flights": report.flights(),
    }))
}

fn verdict(report: &Report) -> String {
    let problems = report.problems();
    if !problems.is_empty() {
        return format!("FAILED: {}", problems.join("; "));
    }
    let cost = format!(
        "{} bytes in {} messages from the devices",
        measure::bytes_sent(&report.seen),
        measure::messages_sent(&report.seen)
    );
    match (report.took, report.flights()) {
        (Some(took), Some(flights)) => {
            format!(
                "Paired in {:.1} ms, {flights} flights until the people were asked, {cost}.",
                took.as_secs_f64() * 1000.0
            )
        }
        _ => format!("Refused, as it must be: {}; {cost}.", report.refusal()),
    }
}

/// Prints the last line, and fails if it says so.
fn conclude(session: &mut Session, stage: &Stage, reports: &[Report]) -> Result<(), Failed> {
    let verdict = judge(stage, reports);
    let (Ok(last_line) | Err(last_line)) = &verdict;
    print(session, &format!("{last_line}\n"))?;
    session.ui.event(&match &verdict {
        Ok(message) => json!({"event": "done", "outcome": "demo", "message": message}),
        Err(message) => return Err(Failed::new(Exit::Internal, message)),
    })
}

/// Counts, searches, and checks that the search would find something. The last line, `OK` or `FAILED`.
fn judge(stage: &Stage, reports: &[Report]) -> Result<String, String> {
    let mut problems: Vec<String> = reports
        .iter()
        .flat_map(|report| report.problems().into_iter().map(|problem| format!("{}: {problem}", report.scene.title)))
        .collect();
    let seen: Vec<&Seen> = reports.iter().flat_map(|report| &report.seen).collect();
    let index = stage.secrets.index();
    let found = index.found_in(seen.iter().map(|seen| seen.bytes.as_slice()));
    problems.extend(found.iter().map(|what| format!("the relay saw a secret: {what}")));
    problems.extend(stage.search_is_blind(&seen));
    if !problems.is_empty() {
        return Err(format!("FAILED: {}", problems.join("; ")));
    }
    let refusals = reports.iter().filter(|report| report.scene.must_fail()).count();
    let sent = seen.iter().filter(|seen| seen.way == Way::ToRelay);
    let (bytes, frames) = sent.fold((0, 0), |(bytes, frames), seen| (bytes + seen.bytes.len(), frames + 1));
    Ok(format!(
        "OK: {} pairings, {refusals} refusals; the relay carried {bytes} bytes in {frames} frames and none of the {} secrets \
         (bundle entries, keys, codes, names and labels) occur in them",
        reports.len() - refusals,
        stage.secrets.iter().count(),
    ))
}

/// The demonstration is what was asked for, so it goes to stdout.
fn print(session: &mut Session, text: &str) -> Result<(), Failed> {
    if session.ui.is_json() { Ok(()) } else { session.ui.result(text.as_bytes()) }
}

fn name(device: tap::Device) -> &'static str {
    match device {
        tap::Device::Trusted => "trusted device",
        tap::Device::New => "new device",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn stage_after_run_1() -> (Stage, Vec<Report>) {
        let relay = Relay::bind("127.0.0.1:0".parse().unwrap(), Config::default()).await.unwrap().spawn();
        let mut stage = Stage::build(relay.addr()).unwrap();
        let [first, ..] = runs::ALL;
        let report = stage.play(first).await.unwrap();
        (stage, vec![report])
    }

    #[tokio::test]
    async fn a_run_without_a_leak_is_ok() {
        let (stage, reports) = stage_after_run_1().await;
        assert!(judge(&stage, &reports).unwrap().starts_with("OK: 1 pairings, 0 refusals; "));
    }

    #[tokio::test]
    async fn a_secret_that_the_relay_saw_fails_the_demo() {
        let (mut stage, mut reports) = stage_after_run_1().await;
        let report = reports.first_mut().unwrap();
        let sent = report.seen.iter_mut().rfind(|seen| seen.way == Way::ToRelay).unwrap();
        stage.secrets.add("planted", b"nobody may see this");
        sent.bytes.extend_from_slice(hex::encode(b"nobody may").as_bytes());
        assert_eq!(judge(&stage, &reports).unwrap_err(), "FAILED: the relay saw a secret: planted");
    }

    #[tokio::test]
    async fn a_search_that_sees_nothing_fails_the_demo() {
        let (stage, mut reports) = stage_after_run_1().await;
        reports.first_mut().unwrap().seen.clear();
        let last_line = judge(&stage, &reports).unwrap_err();
        assert!(last_line.contains("the search is blind"), "{last_line}");
    }
}
