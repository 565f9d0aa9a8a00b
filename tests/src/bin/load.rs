//! The load client's command: one scenario or all, one JSON object a line; the same as a table.

use clap::{Parser, Subcommand};
use handfast_tests::load::churn::Churn;
use handfast_tests::load::exchange::Exchange;
use handfast_tests::load::half_open::HalfOpen;
use handfast_tests::load::idle::{Growth, Idle};
use handfast_tests::load::report::tables;
use handfast_tests::load::server::raise_descriptors;
use handfast_tests::load::slow_reader::SlowReader;
use handfast_tests::load::storm::Storm;
use handfast_tests::load::throughput::Throughput;
use handfast_tests::load::{Report, Result};
use std::io::{self, BufRead, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
It starts the programs floor and handfast-relay that lie beside it, on free ports of the loopback, and ends them. Floor
and relay take turns in one run, fresh processes in each round; figures are medians of the rounds. CPU is the server's
own, as the kernel counts it.

Prints one JSON object a line for each scenario. Exit codes: 0 every invariant holds, whatever the figures; 1 one is
broken, or a scenario could not be measured; 2 wrong usage.";

/// Load on the relay, and on the floor that it is measured against.
#[derive(Parser)]
#[command(name = "load", after_help = AFTER_HELP)]
struct Cli {
    /// Rounds of floor and relay in the scenarios that compare them.
    #[arg(long, global = true, value_name = "N", default_value = "5")]
    rounds: NonZeroUsize,

    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Frames of 1 KiB through open pairs, an acknowledgement every 8 frames.
    Throughput(Throughput),
    /// Connections that hold a mailbox and do nothing, against idle ones of the floor.
    Idle(Idle),
    /// Idle connections in one relay: memory grows by the same amount for each.
    Growth(Growth),
    /// Whole exchanges: two connections, allocate, claim, five messages of 1.5 KB, close.
    Exchange(Exchange),
    /// Connections that come and go, cleanly and abruptly: descriptors, mailboxes and memory return.
    Churn(Churn),
    /// Devices that never read: each costs its bounded queue.
    SlowReader(SlowReader),
    /// Connections that stop half way are dropped in time.
    HalfOpen(HalfOpen),
    /// A flood against a relay that may open 256 files.
    Storm(Storm),
    /// All of them, as the bars of the design ask for.
    All,
    /// Reads the JSON of earlier runs from stdin and prints tables in Markdown.
    Table,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nowhere left to report a broken stderr to.
            let _ = writeln!(io::stderr(), "load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Cli { rounds, scenario }: Cli) -> Result<bool> {
    raise_descriptors()?;
    let rounds = rounds.get();
    match scenario {
        Scenario::Throughput(options) => print("throughput", options.run(rounds).await),
        Scenario::Idle(options) => print("idle", options.run(rounds).await),
        Scenario::Growth(options) => print("growth", options.run().await),
        Scenario::Exchange(options) => print("exchange", options.run(rounds).await),
        Scenario::Churn(options) => print("churn", options.run().await),
        Scenario::SlowReader(options) => print("slow-reader", options.run().await),
        Scenario::HalfOpen(options) => print("half-open", options.run().await),
        Scenario::Storm(options) => print("storm", options.run().await),
        Scenario::All => all(rounds).await,
        Scenario::Table => table(),
    }
}

async fn all(rounds: usize) -> Result<bool> {
    let mut holds = true;
    for (pairs, window) in [(1, 8), (4, 8), (1, 32)] {
        holds &= print("throughput", Throughput { frames: 200_000, pairs, window }.run(rounds).await)?;
    }
    for (exchanges, at_once) in [(1_000, 1), (3_000, 50)] {
        holds &= print("exchange", Exchange { exchanges, at_once }.run(rounds).await)?;
    }
    holds &= print("idle", Idle { connections: 5_000, settle: 5 }.run(rounds).await)?;
    holds &= print("growth", Growth { connections: 15_000, settle: 5 }.run().await)?;
    holds &= print("churn", Churn { connections: 5_000, cycles: 10, lifetime: 8 }.run().await)?;
    holds &= print("slow-reader", SlowReader { pairs: 100, pings: 20_000 }.run().await)?;
    holds &= print("half-open", HalfOpen { connections: 500, first_frame_timeout: 3 }.run().await)?;
    holds &= print("storm", Storm { connections: 2_000 }.run().await)?;
    Ok(holds)
}

/// A scenario that could not be run to its end counts as broken, and the next one runs all the same.
fn print(scenario: &str, outcome: Result<Report>) -> Result<bool> {
    let report = outcome.unwrap_or_else(|error| {
        let mut report = Report::new(scenario, "");
        report.invariant("the scenario runs to its end", false, error.to_string());
        report
    });
    writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(report.holds())
}

fn table() -> Result<bool> {
    let reports: Vec<Report> =
        io::stdin().lock().lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()?;
    write!(io::stdout(), "{}", tables(&reports))?;
    Ok(reports.iter().all(Report::holds))
}
