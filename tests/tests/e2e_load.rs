//! The load client in small: every scenario runs to its end against real processes and finds nothing broken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use handfast_tests::e2e::process::binary;
use handfast_tests::load::Report;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn load(arguments: &str) -> Output {
    // It looks for the servers beside itself, where cargo has put the floor.
    assert!(binary("handfast-relay").is_file() && Path::new(env!("CARGO_BIN_EXE_floor")).is_file());
    Command::new(env!("CARGO_BIN_EXE_load")).args(arguments.split(' ')).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn holds(arguments: &str) -> Report {
    let output = load(arguments);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments}: {output:?}"));
    assert_eq!(output.status.code(), Some(0), "{arguments}: {report:?}");
    report
}

#[track_caller]
fn compares(arguments: &str, figures: &[&str]) {
    let report = holds(arguments);
    let found: Vec<&str> = report.figures.iter().map(|figure| figure.what.as_str()).collect();
    assert_eq!(found, figures, "{report:?}");
    assert_eq!(report.rounds.len(), 2, "floor and relay, one round each: {report:?}");
}

#[test]
fn frames_and_exchanges_go_through_floor_and_relay() {
    compares("--rounds 1 throughput --frames 800 --pairs 2", &["CPU of the server for a frame", "time for a frame"]);
    let figures = ["time for an exchange", "CPU of the server for an exchange"];
    compares("--rounds 1 exchange --exchanges 10", &figures);
    compares("--rounds 1 exchange --exchanges 40 --at-once 10", &figures);
}

#[test]
fn idle_connections_are_counted_on_floor_and_relay() {
    let figures = ["resident memory of a connection", "proportional memory of a connection"];
    compares("--rounds 1 idle --connections 200 --settle 0", &figures);
}

#[test]
fn whoever_breaks_off_leaves_nothing_behind() {
    let report = holds("churn --connections 100 --cycles 2 --lifetime 3");
    assert_eq!(report.invariants.len(), 4, "{report:?}");
}

#[test]
fn whoever_does_not_read_costs_its_queue() {
    let report = holds("slow-reader --pairs 20 --pings 20000");
    assert_eq!(report.invariants.len(), 4, "{report:?}");
}

#[test]
fn whoever_stops_half_way_is_dropped() {
    let report = holds("half-open --connections 20 --first-frame-timeout 1");
    assert_eq!(report.invariants.len(), 4, "{report:?}");
}

#[test]
fn a_flood_leaves_a_relay_that_works() {
    let report = holds("storm --connections 400");
    assert_eq!(report.invariants.len(), 9, "{report:?}");
}
