//! Everything that reaches stdout, stderr or comes from stdin.

pub(crate) mod input;
pub(crate) mod json;
pub(crate) mod screen;

use crate::exit::Failed;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How often a spinner or countdown moves.
pub(crate) const FRAME: Duration = Duration::from_millis(125);

/// What the person, or the script, sees.
pub(crate) struct Ui {
    json: bool,
    /// Whether people's text goes to a terminal.
    terminal: bool,
    spinner: Option<Spinner>,
}

struct Spinner {
    bar: ProgressBar,
    text: String,
    until: Option<Instant>,
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal(), spinner: None }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether people's text goes to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether something drawn would not be seen whole.
    pub(crate) fn is_too_small_for(&self, rows: u16, columns: u16) -> bool {
        #[cfg(unix)]
        if self.terminal && !self.json {
            return rustix::termios::tcgetwinsize(std::io::stderr())
                .is_ok_and(|size| size.ws_row > 0 && (size.ws_row < rows || size.ws_col < columns));
        }
        let _ = (rows, columns);
        false
    }

    /// Text for people.
    pub(crate) fn say(&mut self, text: &str) {
        let write = || {
            let mut stderr = std::io::stderr().lock();
            // A closed stderr is no reason to end a run half-way.
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        };
        match &self.spinner {
            Some(spinner) => spinner.bar.suspend(write),
            None => write(),
        }
    }

    /// Text for people, unless a script reads the events.
    pub(crate) fn say_to_person(&mut self, text: &str) {
        if !self.json {
            self.say(text);
        }
    }

    /// An event for a script.
    pub(crate) fn event(&mut self, event: &Value) -> Result<(), Failed> {
        if self.json { self.result(Zeroizing::new(format!("{event}\n")).as_bytes()) } else { Ok(()) }
    }

    /// Results: the only thing on stdout.
    pub(crate) fn result(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failed::new(crate::exit::Exit::File, format!("cannot write to stdout: {error}")))
    }

    /// The last word of a command that failed.
    pub(crate) fn failed(&mut self, failed: &Failed) {
        self.calm();
        // A script that closed its end learns the exit code.
        let _ = self.event(&json::failed(failed));
        self.say(&format!("handfast: {}\n", failed.message));
    }

    /// Shows that something goes on, with a countdown if it ends by itself. A plain line where there is no terminal.
    pub(crate) fn busy(&mut self, text: &str, until: Option<Instant>) {
        if self.json {
            return;
        }
        if !self.terminal {
            let left = until.map(|until| format!(" ({})", minutes(until))).unwrap_or_default();
            self.say(&format!("{text}{left}\n"));
            return;
        }
        self.calm();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        self.spinner = Some(Spinner { bar, text: text.into(), until });
        self.animate();
    }

    /// Moves the spinner and its countdown.
    pub(crate) fn animate(&mut self) {
        if let Some(Spinner { bar, text, until }) = &self.spinner {
            bar.set_message(match until {
                Some(until) => format!("{text} ({})", minutes(*until)),
                None => text.clone(),
            });
            bar.tick();
        }
    }

    /// Whether [`Ui::animate`] has something to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.spinner.is_some()
    }

    /// Takes the spinner away.
    pub(crate) fn calm(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.bar.finish_and_clear();
        }
    }
}

/// `4:59 left`.
fn minutes(until: Instant) -> String {
    let seconds = until.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000);
    format!("{}:{:02} left", seconds / 60, seconds % 60)
}

/// Whether a terminal wants colours.
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countdowns_round_up_and_stop_at_zero() {
        let now = Instant::now();
        assert_eq!(minutes(now), "0:00 left");
        assert_eq!(minutes(now + Duration::from_millis(299_900)), "5:00 left");
    }
}
