//! The `handfast` command: a new device joins an account through one that is already trusted.

mod args;
mod commands;
mod demo;
mod exit;
mod files;
mod qr;
mod serve;
mod session;
mod signals;
mod ui;

use clap::Parser;
use exit::Failed;
use session::Session;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let json = cli.global.json;
    // One run moves a few kilobytes: one thread is enough, and starts fastest.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = Failed::internal(format!("cannot start: {error}"));
            ui::Ui::new(json).failed(&failed);
            return failed.exit.code().into();
        }
    };
    let code = runtime.block_on(async {
        let mut session = Session::new(json);
        match commands::run(cli, &mut session).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                session.ui.failed(&failed);
                failed.exit.code().into()
            }
        }
    });
    // A thread may still wait for a line from stdin.
    runtime.shutdown_background();
    code
}

/// Help and version are no errors; anything else is told to a script in its own language too.
fn misused(error: &clap::Error) -> ExitCode {
    // There is nowhere left to report a closed stream to.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let failed = Failed::usage("wrong arguments: see the message on stderr, or `handfast --help`");
    if std::env::args_os().any(|argument| argument == "--json") {
        ui::Ui::new(true).failed(&failed);
    }
    failed.exit.code().into()
}
