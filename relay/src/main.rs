//! The `handfast-relay` command.

mod command;
mod settings;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use command::{Stop, healthcheck, serve};
use std::io::{self, Write};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes: 0 it was told to stop and has, or the relay is healthy; 1 it could not start, a second signal cut the drain
short, or the relay is not healthy; 2 wrong usage.

Settings come from flags, then the environment, then the file, then the defaults. The relay listens on loopback unless
told otherwise. On anything but loopback give it a certificate, or put a proxy that ends TLS before it.";

/// A blind relay for pairing devices: it passes on frames that it cannot read.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay until SIGTERM or Ctrl-C, then let live mailboxes finish for a while. A second signal ends it at
    /// once. Prints one line on stdout for each address when it is ready; logs go to stderr.
    #[command(after_help = AFTER_HELP)]
    Serve(Box<serve::Serve>),

    /// Ask a relay on this machine whether it serves. Prints nothing if it does, and one line why if it does not.
    #[command(after_help = AFTER_HELP)]
    Healthcheck(healthcheck::Healthcheck),
}

fn main() -> ExitCode {
    let matches = settings::with_defaults_in_help(Cli::command(), "serve").get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(*options),
        Command::Healthcheck(options) => healthcheck::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            // There is nowhere left to report a broken stderr to.
            let _ = writeln!(io::stderr(), "handfast-relay: {stop}");
            ExitCode::from(match stop {
                Stop::Failed(_) => 1,
                Stop::Usage(_) => 2,
            })
        }
    }
}
