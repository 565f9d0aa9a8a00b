//! The subcommands.

pub(crate) mod healthcheck;
pub(crate) mod serve;

use std::{fmt, io};

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something outside did not work.
    Failed(String),
    /// The settings are wrong.
    Usage(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidInput => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(why) | Self::Usage(why)) = self;
        // One line, whatever a library put into its message.
        f.write_str(&why.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}
