//! Enroll a new device through one that is already trusted.
//!
//! The trusted device encrypts a [`CredentialBundle`] to the new device's ephemeral key and sends it through a relay that
//! can read nothing. The two meet by a typed code or a QR code. Afterwards the new device has its own key, keeps the
//! bundle sealed under it, and can let in further devices itself.
//!
//! A program starts one of four runs, shows what [`Run::next`] brings, and passes the person's decisions on:
//!
//! | on the trusted device | on the new device |
//! |---|---|
//! | [`invite`]: shows a code or QR code | [`join`]: enters the code or scans it |
//! | [`approve`]: scans the QR code of a new device | [`join`] with [`Join::ShowQr`], or [`unlock`] |
//!
//! Both sides, complete, over a relay on loopback:
//!
//! ```
//! use handfast::{AccountLabel, DeviceName, Event, Join, Options, Outcome, Profile, Show};
//! use handfast::{SecretBytes, EntryName, ProfileError};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Your deployment has a relay; this one lives as long as the example.
//! let relay = handfast_relay::Relay::bind("127.0.0.1:0".parse()?, Default::default()).await?.spawn();
//! let options = Options::new(format!("ws://{}", relay.addr()).parse()?);
//! let home = tempfile::tempdir()?;
//!
//! // The first device makes the account and puts something into the bundle.
//! let mut desktop = Profile::init(
//!     &home.path().join("desktop"),
//!     AccountLabel::new("ada@example.com")?,
//!     DeviceName::new("desktop")?,
//! )?;
//! desktop.change_bundle(|bundle| -> Result<(), ProfileError> {
//!     let name = EntryName::new("age-key").expect("a short name");
//!     Ok(bundle.set(name, SecretBytes::new(b"AGE-SECRET-KEY-1...".to_vec()))?)
//! })?;
//!
//! // It shows a code ...
//! let mut inviting = handfast::invite(desktop, Show::Code, options.clone());
//! let typed = loop {
//!     if let Some(Event::ShowCode { code, .. }) = inviting.next().await {
//!         break code.reveal().to_string();
//!     }
//! };
//!
//! // ... which is typed on the laptop. A typo is found before anything is sent.
//! let joining = handfast::join(
//!     home.path().join("laptop"),
//!     DeviceName::new("laptop")?,
//!     Join::Code(typed.parse()?),
//!     options,
//! )?;
//!
//! // The person at the desktop looks at the request and says yes.
//! while let Some(event) = inviting.next().await {
//!     if let Event::AskApproval(approval) = event {
//!         println!("{} ({}) asks to join", approval.name, approval.identity.fingerprint());
//!         inviting.approve();
//!     }
//! }
//! assert!(matches!(inviting.finish().await?, Outcome::Enrolled { .. }));
//!
//! // The laptop is a trusted device now.
//! let Outcome::Joined { profile: laptop } = joining.finish().await? else { panic!("not joined") };
//! let bundle = laptop.bundle()?;
//! let entry = bundle.get(&EntryName::new("age-key")?).expect("it travelled");
//! assert_eq!(entry.expose(), b"AGE-SECRET-KEY-1...");
//! # relay.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What holds and what does not is written in the repository's `spec/`. In short: a relay, however hostile, can delay
//! and refuse but neither read nor change; a code is good for one try, so never start [`join`] twice with the same one;
//! nothing of the bundle leaves the trusted device before a person there has said yes. What your screens must say, and
//! never do, is the table in `spec/threat-model.md`.
//!
//! The websocket library logs whole frames, with nameplates and resume tokens, through the `log` crate at its trace
//! level: keep `tungstenite` out of logs that others can read.

mod approval;
mod driver;
mod error;
mod profile;
mod relay_url;
mod run;
mod socket;

pub use approval::{Approval, RecordedDevice};
pub use error::Error;
pub use handfast_protocol as protocol;
pub use handfast_protocol::bundle::{BundleError, CredentialBundle, MAX_BUNDLE_BYTES, ReleasedItems};
pub use handfast_protocol::device::{Account, AccountId, EnrolledDevice, Enroller, IdentityPublicKey};
pub use handfast_protocol::pairing::check_code::{CheckCode, CheckCodeError};
pub use handfast_protocol::pairing::code::{CodeError, VerificationCode};
pub use handfast_protocol::pairing::qr::{QrError, QrKind, QrPayload, QrText, RelayHint};
pub use handfast_protocol::pairing::{Mode, Purpose};
pub use handfast_protocol::secret::{Secret, SecretBytes};
pub use handfast_protocol::text::{AccountLabel, DeviceName, EntryName, Platform, TextError};
pub use handfast_protocol::wire::{self, Network};
pub use handfast_protocol::{AuthenticatedBy, Failure, Fault, MAX_REQUESTED_ENTRIES, Request, Success, WrongWay};
pub use profile::{DeviceRecord, KeyProtection, Profile, ProfileError};
pub use relay_url::{RelayUrl, RelayUrlError};
pub use run::{Decisions, Event, Join, Options, Outcome, Run, Show, Unlocker, approve, invite, join, unlock};
