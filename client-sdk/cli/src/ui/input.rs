//! Answers from stdin, read in a thread of their own: nothing can interrupt a blocking read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::sync::Arc;
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
    source: Source,
}

#[derive(Clone)]
enum Source {
    Stdin,
    /// The person's terminal, where stdin is something else.
    Terminal(Arc<File>),
    /// Nobody answers: as the end of the input.
    Nobody,
}

struct Thread {
    wanted: blocking::Sender<()>,
    lines: mpsc::UnboundedReceiver<Option<Zeroizing<String>>>,
    ended: bool,
}

impl Input {
    pub(crate) fn new(eager: bool) -> Self {
        Self { thread: None, eager, source: Source::Stdin }
    }

    /// stdin held a QR code. Whoever wrote that must not approve it in the same breath: unless a script decides, the
    /// answers come from a terminal, or from nobody.
    pub(crate) fn after_stdin_was_read(&mut self) {
        self.source = after_qr(self.eager, io::stdin().is_terminal(), || File::open("/dev/tty"));
    }

    /// Asks for one line: [`Input::line`] will return it. What was typed before does not count.
    pub(crate) fn ask(&mut self) {
        self.discard_what_was_typed_ahead();
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
        if !self.eager && matches!(self.source, Source::Stdin) && !io::stdin().is_terminal() {
            // A terminal has shown the Enter of the answer.
            let _ = io::stderr().write_all(b"\n");
        }
        line
    }

    /// Whether the input has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.source, Source::Nobody) || self.thread.as_ref().is_some_and(|thread| thread.ended)
    }

    fn start(&mut self) -> &mut Thread {
        let (eager, source) = (self.eager, &self.source);
        self.thread.get_or_insert_with(|| {
            let (wanted, asked) = blocking::channel();
            let (sender, lines) = mpsc::unbounded_channel();
            let source = source.clone();
            std::thread::spawn(move || match source {
                Source::Stdin => read(|| read_line(io::stdin().lock()), eager, &asked, &sender),
                Source::Terminal(file) => {
                    let mut terminal = BufReader::new(file);
                    read(|| read_line(&mut terminal), eager, &asked, &sender);
                }
                Source::Nobody => {}
            });
            Thread { wanted, lines, ended: false }
        })
    }

    /// A `y` typed before the question is not an answer to it.
    fn discard_what_was_typed_ahead(&self) {
        #[cfg(unix)]
        {
            use rustix::termios::{QueueSelector, tcflush};
            // If it fails, what was typed ahead counts: not worth ending the run.
            let _ = match &self.source {
                Source::Stdin if io::stdin().is_terminal() => tcflush(io::stdin(), QueueSelector::IFlush),
                Source::Terminal(file) => tcflush(file, QueueSelector::IFlush),
                Source::Stdin | Source::Nobody => Ok(()),
            };
        }
    }
}

/// Where answers come from once stdin has held a QR code.
fn after_qr(script: bool, stdin_is_terminal: bool, open_terminal: impl FnOnce() -> io::Result<File>) -> Source {
    if script || stdin_is_terminal {
        return Source::Stdin;
    }
    open_terminal().map_or(Source::Nobody, |terminal| Source::Terminal(Arc::new(terminal)))
}

fn read(
    mut line: impl FnMut() -> Option<Zeroizing<String>>,
    eager: bool,
    asked: &blocking::Receiver<()>,
    lines: &mpsc::UnboundedSender<Option<Zeroizing<String>>>,
) {
    while eager || asked.recv().is_ok() {
        let line = line();
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_pipes_a_qr_code_in_cannot_approve_it() {
        let none = || Err(io::ErrorKind::NotFound.into());
        assert!(matches!(after_qr(false, false, tempfile::tempfile), Source::Terminal(_)));
        let input = Input { thread: None, eager: false, source: after_qr(false, false, none) };
        assert!(input.is_over(), "without a terminal, every answer is no");
        // A person who pasted the text, and a script that writes decisions, go on where they are.
        assert!(matches!(after_qr(false, true, none), Source::Stdin));
        assert!(matches!(after_qr(true, false, none), Source::Stdin));
    }

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
