//! Files of kind "refusal": one failure each, on top of a pairing. What is injected is wrong in one respect and right in all
//! others, so that only the check that the rule names can catch it.

mod check;
mod ending;
mod grant;
mod hello;
mod introduction;
mod keys;
mod tolerated;

use super::derivation::Run;
use super::format::{self, Hex, Named};
use super::pairing::{self, Message, Pairing, Role, required};
use serde::{Deserialize, Serialize};

/// A device that gets something which it must not accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Always the same.
    pub kind: RefusalKind,
    /// Also the name of the file.
    pub name: String,
    /// What is wrong.
    pub comment: String,
    /// The pairing that it begins as.
    pub base: String,
    /// The rule that is broken, as named in the specification.
    pub rule: String,
    /// The device that must notice.
    pub to: Role,
    /// How many messages of the base are exchanged before.
    pub after: usize,
    /// What the person at that device does otherwise than in the base.
    #[serde(deserialize_with = "required")]
    pub change: Option<Change>,
    /// What the device gets then.
    pub deliver: Vec<Hex>,
    /// How its run ends.
    pub outcome: String,
    /// What it sends from then on.
    pub sends: Vec<Hex>,
    /// The reason with which it closes its side at the relay.
    pub close: u8,
}

/// Marks the kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The only one.
    Refusal,
}

/// What the person does otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Types these digits; if they are asked for after the part that is as in the base, at once.
    TypedCheckCode(String),
    /// Lets the device read this QR code.
    Scanned(String),
}

/// The path of each refusal in `spec/vectors`, and its content.
pub fn files() -> Vec<(String, String)> {
    all().iter().map(|refusal| (path(&refusal.name), format::write(refusal))).collect()
}

/// Where a refusal is in `spec/vectors`.
pub fn path(name: &str) -> String {
    format!("refusals/{name}.json")
}

/// Every refusal, made anew.
pub fn all() -> Vec<Refusal> {
    let mut list = List { pairings: pairing::all(), refusals: Vec::new() };
    introduction::add(&mut list);
    hello::add(&mut list);
    check::add(&mut list);
    grant::add(&mut list);
    ending::add(&mut list);
    tolerated::add(&mut list);
    list.refusals
}

/// The refusals so far, and the pairings that they begin as.
struct List {
    pairings: Vec<Pairing>,
    refusals: Vec<Refusal>,
}

/// Where in which run.
#[derive(Clone, Copy)]
struct Place {
    base: &'static str,
    to: Role,
    after: usize,
}

/// How a device ends its run.
#[derive(Clone, Copy)]
enum End {
    /// Without a word to the peer.
    Silent(&'static str),
    /// With a sealed abort.
    Abort(&'static str, u8),
    /// As the base does.
    Success(&'static str),
}

/// A value of the derivation that is changed, and how: rule, name and comment of the file; the value; the change.
type Row<'a> = ([&'a str; 3], &'a str, fn(&Named, Vec<u8>) -> Vec<u8>);

/// What most refusals after the handshake end with.
const MISBEHAVED: End = End::Abort("peer_misbehaved", PROTOCOL);
/// What most refusals in the handshake end with.
const MISBEHAVED_SILENTLY: End = End::Silent("peer_misbehaved");
/// Reason of an abort.
const PROTOCOL: u8 = 6;

impl List {
    /// A derivation of the place's base.
    fn run(&self, place: Place) -> Run {
        Run::of(self.base(place.base))
    }

    fn base(&self, name: &str) -> &Pairing {
        self.pairings.iter().find(|pairing| pairing.name == name).unwrap_or_else(|| panic!("no pairing {name}"))
    }

    /// A message of a base.
    fn payload(&self, base: &str, message: &str) -> Vec<u8> {
        let message = self.base(base).messages.iter().find(|other| other.name == message);
        message.unwrap().payload.0.clone()
    }

    /// For each row: the messages of the peer that are due at this place, over the changed value.
    fn rows(&mut self, place: Place, through: fn(Run) -> Run, end: End, rows: &[Row<'_>]) {
        for (words, what, with) in rows {
            let made = self.make(place, *words, end, |run| through(run.change(what, *with)));
            self.refusals.push(made);
        }
    }

    /// A run with a change: the device gets what its peer sends after the first messages, which are as in the base.
    fn add(&mut self, place: Place, words: [&str; 3], end: End, derive: impl FnOnce(Run) -> Run) {
        let made = self.make(place, words, end, derive);
        self.refusals.push(made);
    }

    fn make(&self, place: Place, words: [&str; 3], end: End, derive: impl FnOnce(Run) -> Run) -> Refusal {
        let mut run = derive(self.run(place));
        run.assert_changes_applied();
        let Place { base, to, after } = place;
        assert_eq!(run.messages[..after], self.base(base).messages[..after], "{}: changed too early", words[1]);
        let (own, peers): (Vec<Message>, _) = run.messages[after..].iter().cloned().partition(|next| next.from == to);
        let payloads = |messages: Vec<Message>| messages.into_iter().map(|message| message.payload).collect();
        let mut sends: Vec<Hex> = payloads(own);
        sends.extend(end.farewell(&mut run, to));
        end.refusal(place, words, payloads(peers), sends)
    }

    /// The device gets these payloads. `derive` runs as far as the device has sealed messages.
    fn inject(
        &mut self,
        place: Place,
        words: [&str; 3],
        payloads: Vec<Vec<u8>>,
        end: End,
        derive: impl FnOnce(Run) -> Run,
    ) {
        let sends = end.farewell(&mut derive(self.run(place)), place.to).into_iter().collect();
        self.refusals.push(end.refusal(place, words, payloads.into_iter().map(Hex).collect(), sends));
    }

    /// The last one, to say what its person does.
    fn last(&mut self) -> &mut Refusal {
        self.refusals.last_mut().unwrap()
    }
}

impl End {
    fn farewell(self, run: &mut Run, from: Role) -> Option<Hex> {
        match self {
            Self::Abort(_, reason) => Some(Hex(run.abort(from, &[reason]))),
            Self::Silent(_) | Self::Success(_) => None,
        }
    }

    fn refusal(self, place: Place, [rule, name, comment]: [&str; 3], deliver: Vec<Hex>, sends: Vec<Hex>) -> Refusal {
        let (Self::Silent(outcome) | Self::Abort(outcome, _) | Self::Success(outcome)) = self;
        let close = match outcome {
            "enrolled" | "unlocked" => 0,
            "wrong_code" | "peer_misbehaved" => 2,
            _ => 4,
        };
        Refusal {
            kind: RefusalKind::Refusal,
            name: name.into(),
            comment: comment.into(),
            base: place.base.into(),
            rule: rule.into(),
            to: place.to,
            after: place.after,
            change: None,
            deliver,
            outcome: outcome.into(),
            sends,
            close,
        }
    }
}
