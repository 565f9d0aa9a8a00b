//! What the command line looks like.

use crate::exit;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use handfast::{AccountLabel, CheckCode, DeviceName, EntryName, RelayUrl};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Let a new device into an account through one that is already trusted.
#[derive(Parser)]
#[command(name = "handfast", version, after_help = exit::help(), subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Global {
    /// Where this device keeps its key, its bundle and its records [default: handfast in the user's data folder].
    #[arg(long, global = true, value_name = "DIR", env = "HANDFAST_PROFILE")]
    pub(crate) profile: Option<PathBuf>,

    /// The relay: ws://HOST or wss://HOST, with :PORT if it is another than usual [default: the profile's, else ws://127.0.0.1:8474].
    #[arg(long, global = true, value_name = "URL", env = "HANDFAST_RELAY")]
    pub(crate) relay: Option<RelayUrl>,

    /// One JSON object per line: events on stdout, decisions on stdin. Text for people goes to stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an account with this device as its first trusted one.
    Init(Init),
    /// Show this device, its account, and what protects its key.
    Status,
    /// List the devices that this one has let in, or remove one from the list.
    Devices(Devices),
    /// Wipe the account from this device.
    Forget(Forget),
    /// The credentials that travel to a new device.
    #[command(after_help = BUNDLES_DO_NOT_SYNC)]
    Bundle(Bundle),
    /// Trusted device: show a code (or a QR code) that lets a new device in.
    #[command(after_help = exit::help())]
    Invite(Invite),
    /// New device: join an account, with the code or the QR code of a trusted device, or by showing a QR code.
    #[command(after_help = exit::help())]
    Join(Join),
    /// Trusted device: answer the QR code that another device shows.
    #[command(after_help = exit::help())]
    Approve(Approve),
    /// Ask a trusted device for entries or the unlock key, for one use: nothing is stored.
    #[command(after_help = exit::help())]
    Unlock(Unlock),
    /// Run every mode between two devices and a relay inside this process, and look for secrets in what the relay saw.
    Demo,
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

const BUNDLES_DO_NOT_SYNC: &str = "\
Bundles do not sync. A new device gets a copy of the bundle when it joins; what is set later stays on the device where it
was set. To fetch it to a device that has joined before, unlock the entry there (`handfast unlock NAME`, once), or let the
device forget the account and join again.";

#[derive(Args)]
pub(crate) struct Init {
    /// What to call the account, such as a mail address.
    #[arg(long, value_name = "LABEL", value_parser = AccountLabel::new)]
    pub(crate) account: AccountLabel,
    /// What to call this device [default: the host name].
    #[arg(long, value_name = "DEVICE", value_parser = DeviceName::new)]
    pub(crate) name: Option<DeviceName>,
}

#[derive(Args)]
pub(crate) struct Devices {
    #[command(subcommand)]
    pub(crate) command: Option<DevicesCommand>,
}

#[derive(Subcommand)]
pub(crate) enum DevicesCommand {
    /// Forget a device that was let in. This is local: the device keeps its copy of the bundle.
    Rm {
        /// Its fingerprint or its name.
        #[arg(value_name = "FINGERPRINT|NAME")]
        device: String,
    },
}

#[derive(Args)]
pub(crate) struct Forget {
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Bundle {
    #[command(subcommand)]
    pub(crate) command: BundleCommand,
}

#[derive(Subcommand)]
pub(crate) enum BundleCommand {
    /// Add or replace an entry.
    #[command(after_help = BUNDLES_DO_NOT_SYNC)]
    Set {
        #[arg(value_parser = EntryName::new)]
        name: EntryName,
        /// The file with its bytes; `-` reads stdin.
        file: PathBuf,
    },
    /// Write the bytes of an entry to stdout or to a file.
    Get {
        #[arg(value_parser = EntryName::new)]
        name: EntryName,
        /// Write to this file instead, readable only by you.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List the entries, without their content.
    List,
    /// Remove an entry.
    Rm {
        #[arg(value_parser = EntryName::new)]
        name: EntryName,
    },
}

/// Answers given in advance.
#[derive(Args, Clone, Default)]
pub(crate) struct Answers {
    /// Approve without asking. Says nothing about check codes and different networks.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Approve even if the relay says that the devices are on different networks.
    #[arg(long)]
    pub(crate) allow_different_network: bool,
    /// The six digits that the other device shows.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) check_code: Option<CheckCode>,
}

/// For the device that shows a QR code.
#[derive(Args, Default)]
pub(crate) struct ShowQr {
    /// Write the QR code to this PNG file too; it is removed when the run ends.
    #[arg(long, value_name = "FILE")]
    pub(crate) qr_png: Option<PathBuf>,
}

/// For the device that reads a QR code.
#[derive(Args, Default)]
pub(crate) struct ReadQr {
    /// Use the relay that the QR code names, once, without asking.
    #[arg(long)]
    pub(crate) accept_relay_hint: bool,
}

/// A relay inside this process.
#[derive(Args, Default)]
pub(crate) struct Serve {
    /// Run a relay at this address inside this command and use that one; 0.0.0.0 means every network of this machine.
    #[arg(long, value_name = "ADDR")]
    pub(crate) serve: Option<ServeAddr>,
}

#[derive(Args)]
pub(crate) struct Invite {
    /// Show a QR code instead of a code to type.
    #[arg(long)]
    pub(crate) qr: bool,
    #[command(flatten)]
    pub(crate) show: ShowQr,
    #[command(flatten)]
    pub(crate) answers: Answers,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Args)]
pub(crate) struct Join {
    /// The code that the trusted device shows; asked for if absent.
    #[arg(conflicts_with_all = ["qr", "scan"])]
    pub(crate) code: Option<String>,
    /// Show a QR code for the trusted device to scan.
    #[arg(long, conflicts_with = "scan")]
    pub(crate) qr: bool,
    /// Read the trusted device's QR code from a PNG or JPEG file; `-` reads an image or the QR code's text from stdin.
    #[arg(long, value_name = "IMAGE|-")]
    pub(crate) scan: Option<PathBuf>,
    /// What to call this device [default: the host name].
    #[arg(long, value_name = "DEVICE", value_parser = DeviceName::new)]
    pub(crate) name: Option<DeviceName>,
    /// The six digits that the other device shows.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) check_code: Option<CheckCode>,
    #[command(flatten)]
    pub(crate) show: ShowQr,
    #[command(flatten)]
    pub(crate) read: ReadQr,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Args)]
pub(crate) struct Approve {
    /// Read the QR code from a PNG or JPEG file; `-` reads an image or the QR code's text from stdin.
    #[arg(long, value_name = "IMAGE|-", required_unless_present = "uri", conflicts_with = "uri")]
    pub(crate) scan: Option<PathBuf>,
    /// The QR code's text. Prefer --scan: arguments are visible to other programs and kept in the shell's history.
    pub(crate) uri: Option<String>,
    #[command(flatten)]
    pub(crate) read: ReadQr,
    #[command(flatten)]
    pub(crate) answers: Answers,
}

#[derive(Args)]
pub(crate) struct Unlock {
    /// Which entries to ask for. Without one, a device that has joined asks for the account unlock key.
    #[arg(value_name = "ENTRY", value_parser = EntryName::new)]
    pub(crate) entries: Vec<EntryName>,
    /// Ask for the account unlock key as well.
    #[arg(long)]
    pub(crate) key: bool,
    /// What to call this device if it holds no account [default: the host name].
    #[arg(long, value_name = "DEVICE", value_parser = DeviceName::new)]
    pub(crate) name: Option<DeviceName>,
    /// The six digits that the other device shows.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) check_code: Option<CheckCode>,
    #[command(flatten)]
    pub(crate) show: ShowQr,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// `IP` or `IP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServeAddr(pub(crate) SocketAddr);

/// Not an address to listen on.
#[derive(Debug)]
pub(crate) struct ServeAddrError;

impl fmt::Display for ServeAddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("give an IP address, perhaps with a port, such as 0.0.0.0 or 192.168.1.20:8474")
    }
}

impl std::error::Error for ServeAddrError {}

impl FromStr for ServeAddr {
    type Err = ServeAddrError;

    fn from_str(text: &str) -> Result<Self, ServeAddrError> {
        let with_default_port = || {
            let ip: IpAddr = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
            Some(SocketAddr::new(ip, handfast::wire::limits::DEFAULT_PORT))
        };
        text.parse().ok().or_else(with_default_port).map(Self).ok_or(ServeAddrError)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn refusal(args: &[&str]) -> clap::error::ErrorKind {
        Cli::try_parse_from([&["handfast"], args].concat()).err().unwrap().kind()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn contradictions_are_usage_errors() {
        use clap::error::ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument, ValueValidation};
        assert_eq!(refusal(&["join", "CODE", "--qr"]), ArgumentConflict);
        assert_eq!(refusal(&["join", "--scan", "x.png", "--qr"]), ArgumentConflict);
        assert_eq!(refusal(&["approve"]), MissingRequiredArgument);
        assert_eq!(refusal(&["approve", "uri", "--scan", "x.png"]), ArgumentConflict);
        assert_eq!(refusal(&["--relay", "http://a", "status"]), ValueValidation);
        assert_eq!(refusal(&["completions", "tcl"]), InvalidValue);
        assert_eq!(refusal(&["init", "--account", "a\u{202e}b"]), ValueValidation);
    }

    #[test]
    fn serve_takes_an_address_with_or_without_a_port() {
        for (text, address) in [
            ("0.0.0.0", "0.0.0.0:8474"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("::", "[::]:8474"),
            ("[::1]", "[::1]:8474"),
            ("[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(text.parse::<ServeAddr>().unwrap(), ServeAddr(address.parse().unwrap()), "{text}");
        }
        for text in ["", "localhost", "8474", "1.2.3.4:70000"] {
            assert!(text.parse::<ServeAddr>().is_err(), "{text}");
        }
    }
}
