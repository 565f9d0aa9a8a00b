//! Answers from stdin, read in a thread of their own: nothing can interrupt a blocking read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::mpsc as blocking;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Longer lines are cut off; no answer is as long.
const MAX_LINE_BYTES: u64 = 4096;

/// Where answers come from.
pub(crate) struct Input {
    thread: Option<Thread>,
    /// A script may cancel at any time, so its lines are read at once; a person is read only when asked.
    eager: bool,
    /// stdin held the QR code, so that a person with a terminal answers there.
    fall_back_to_terminal: bool,
}

struct Thread {
    wanted: blocking::Sender<()>,
    lines: mpsc::UnboundedReceiver<Option<Zeroizing<String>>>,
    ended: bool,
}

impl Input {
    pub(crate) fn new(eager: bool) -> Self {
        Self { thread: None, eager, fall_back_to_terminal: false }
    }

    /// stdin is used up by something else. If the person has a terminal, the answers come from there after its end.
    pub(crate) fn after_stdin_was_read(&mut self) {
        self.fall_back_to_terminal = !self.eager;
    }

    /// Asks for one line: [`Input::line`] will return it. What was typed before does not count.
    pub(crate) fn ask(&mut self) {
        discard_what_was_typed_ahead();
        let eager = self.eager;
        let thread = self.start();
        if !eager {
            // A thread that has ended has said so.
            let _ = thread.wanted.send(());
        }
    }

    /// The next line; `None` once at the end of the input, then never again. Cancel-safe.
    pub(crate) async fn line(&mut self) -> Option<Zeroizing<String>> {
        if self.eager {
            self.start();
        }
        let Some(thread) = self.thread.as_mut().filter(|thread| !thread.ended) else {
            return std::future::pending().await;
        };
        let line = thread.lines.recv().await.flatten();
        thread.ended = line.is_none();
        if !self.eager && !io::stdin().is_terminal() {
            // A terminal has shown the Enter of the answer.
            let _ = io::stderr().write_all(b"\n");
        }
        line
    }

    /// Whether the input has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.ended)
    }

    fn start(&mut self) -> &mut Thread {
        let (eager, fall_back) = (self.eager, self.fall_back_to_terminal);
        self.thread.get_or_insert_with(|| {
            let (wanted, asked) = blocking::channel();
            let (sender, lines) = mpsc::unbounded_channel();
            std::thread::spawn(move || read(eager, fall_back, &asked, &sender));
            Thread { wanted, lines, ended: false }
        })
    }
}

fn read(
    eager: bool,
    fall_back: bool,
    asked: &blocking::Receiver<()>,
    lines: &mpsc::UnboundedSender<Option<Zeroizing<String>>>,
) {
    let mut terminal: Option<BufReader<File>> = None;
    while eager || asked.recv().is_ok() {
        let mut line = match &mut terminal {
            Some(terminal) => read_line(terminal),
            None => read_line(io::stdin().lock()),
        };
        if line.is_none() && terminal.is_none() && fall_back {
            terminal = File::open("/dev/tty").ok().map(BufReader::new);
            line = terminal.as_mut().and_then(read_line);
        }
        let over = line.is_none();
        if lines.send(line).is_err() || over {
            return;
        }
    }
}

/// One line; `None` at the end. What cannot be read, or is no UTF-8, is an end too.
fn read_line(mut source: impl BufRead) -> Option<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_LINE_BYTES as usize));
    let read = source.by_ref().take(MAX_LINE_BYTES).read_line(&mut line).ok()?;
    if read == 0 { None } else { Some(line) }
}

/// A `y` typed before the question is not an answer to it.
fn discard_what_was_typed_ahead() {
    #[cfg(unix)]
    if io::stdin().is_terminal() {
        // Not worth ending the run: what was typed ahead would count.
        let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_the_input_and_are_bounded() {
        let mut source = io::Cursor::new(b"one\ntwo".to_vec());
        assert_eq!(*read_line(&mut source).unwrap(), "one\n");
        assert_eq!(*read_line(&mut source).unwrap(), "two");
        assert!(read_line(&mut source).is_none());
        assert_eq!(read_line(io::Cursor::new(vec![b'x'; 10_000])).unwrap().len(), 4096);
        assert!(read_line(io::Cursor::new(vec![0xff])).is_none());
    }
}
