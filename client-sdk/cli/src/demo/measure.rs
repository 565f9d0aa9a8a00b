//! What a run cost on the wire, and how many one-way messages a person had to wait for.

use super::person::{Moment, What};
use super::tap::{Device, Seen, Way};
use handfast::Mode;
use handfast::wire::{ClientFrame, RelayFrame};
use std::collections::HashMap;

/// Bytes of all websocket messages that the devices sent.
pub(crate) fn bytes_sent(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.way == Way::ToRelay).map(|seen| seen.bytes.len()).sum()
}

pub(crate) fn messages_sent(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.way == Way::ToRelay).count()
}

/// Messages that had to follow one another, from the reader's claim (the first) to the moment at which the people are
/// asked: for approval in `code` mode and between pinned devices, for the check code in QR modes.
///
/// A payload on its way through the relay is one message. One that waited in the mailbox counts as the relay's answer
/// to the claim. Acknowledgements carry nothing and count as nothing.
pub(crate) fn flights(seen: &[Seen], moments: &[Moment], reader: Device) -> u32 {
    let asked = |wanted| moments.iter().filter(move |moment| moment.what == wanted).collect::<Vec<_>>();
    let checks = asked(What::CheckCode);
    let prompts = if checks.is_empty() { asked(What::Approval) } else { checks };
    prompts.iter().map(|prompt| depth_at(seen, prompt, reader)).max().unwrap_or_default()
}

/// The longest chain of messages that had reached the device before it asked.
fn depth_at(seen: &[Seen], prompt: &Moment, reader: Device) -> u32 {
    let mut reached: HashMap<Device, u32> = HashMap::new();
    let mut sent: HashMap<(Device, u32), u32> = HashMap::new();
    for seen in seen.iter().filter(|seen| seen.at <= prompt.at) {
        let here = reached.get(&seen.device).copied().unwrap_or_default();
        match seen.way {
            Way::Upgrade => {}
            Way::ToRelay => {
                if let Ok(ClientFrame::Data(data)) = ClientFrame::decode(&seen.bytes) {
                    sent.insert((seen.device, data.seq), if here == 0 { 0 } else { here + 1 });
                }
            }
            Way::FromRelay => {
                let arrived = match RelayFrame::decode(&seen.bytes) {
                    Ok(RelayFrame::Joined(_)) if seen.device == reader => CLAIM + 1,
                    Ok(RelayFrame::PeerJoined { .. }) => CLAIM + 1,
                    Ok(RelayFrame::Data(data)) => {
                        let peer = if seen.device == Device::New { Device::Trusted } else { Device::New };
                        sent.get(&(peer, data.seq)).copied().unwrap_or_default().max(CLAIM + 1)
                    }
                    _ => 0,
                };
                reached.insert(seen.device, here.max(arrived));
            }
        }
    }
    reached.get(&prompt.device).copied().unwrap_or_default()
}

/// The reader's first message.
const CLAIM: u32 = 1;

/// How many flights the protocol promises at most.
pub(crate) fn flights_promised(mode: Mode) -> u32 {
    if mode == Mode::Code { 3 } else { 4 }
}

/// A message as an operator might describe it; `None` for what is only passed on.
pub(crate) fn describe(seen: &Seen) -> Option<String> {
    let text = match seen.way {
        Way::Upgrade => return None,
        Way::ToRelay => match ClientFrame::decode(&seen.bytes).ok()? {
            ClientFrame::Allocate { .. } => "asks for a mailbox and its short name".into(),
            ClientFrame::Open { .. } => "opens the mailbox that the QR code leads to".into(),
            ClientFrame::Claim { .. } => "claims the mailbox of the short name".into(),
            ClientFrame::Resume { .. } => "comes back".into(),
            ClientFrame::Data(data) => format!("payload {}: {} bytes", data.seq, data.payload.len()),
            ClientFrame::Ack(ack) => format!("has {} payloads", ack.ack),
            ClientFrame::Close { .. } => "is finished".into(),
            _ => return None,
        },
        Way::FromRelay => match RelayFrame::decode(&seen.bytes).ok()? {
            RelayFrame::Data(_) | RelayFrame::Ack(_) => return None,
            RelayFrame::Allocated { .. } => "mailbox and short name".into(),
            RelayFrame::Joined(_) => "you are in".into(),
            RelayFrame::PeerJoined { .. } => "the other device is here".into(),
            RelayFrame::PeerClosed { .. } => "the other device is finished".into(),
            RelayFrame::PeerLeft => "the other device is gone".into(),
            RelayFrame::Ended { .. } => "the mailbox is over".into(),
            _ => "something else".into(),
        },
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use handfast::wire::{Data, Flags, Nameplate, Network, ResumeToken};
    use std::time::{Duration, Instant};

    struct Wire {
        start: Instant,
        seen: Vec<Seen>,
    }

    impl Wire {
        fn new() -> Self {
            Self { start: Instant::now(), seen: Vec::new() }
        }

        fn put(&mut self, device: Device, way: Way, bytes: Vec<u8>) {
            let at = self.start + Duration::from_millis(self.seen.len() as u64);
            self.seen.push(Seen { at, device, way, bytes });
        }

        fn payload(&mut self, from: Device, seq: u32) {
            let data = Data { seq, ack: 0, flags: Flags::NONE, payload: vec![1] };
            let to = if from == Device::New { Device::Trusted } else { Device::New };
            self.put(from, Way::ToRelay, ClientFrame::Data(data.clone()).encode());
            self.put(to, Way::FromRelay, RelayFrame::Data(data).encode());
        }

        fn asked(&self, device: Device, what: What) -> Moment {
            let at = self.start + Duration::from_millis(self.seen.len() as u64);
            Moment { at, device, what, text: String::new() }
        }
    }

    #[test]
    fn a_stored_offer_an_answer_and_a_prompt_are_three_flights() {
        let mut wire = Wire::new();
        let offer = Data { seq: 0, ack: 0, flags: Flags::NONE, payload: vec![1] };
        let claim = ClientFrame::Claim {
            nameplate: Nameplate::new(1).unwrap_or_else(|_| unreachable!()),
            token: ResumeToken([0; 16]),
        };
        wire.put(Device::Trusted, Way::ToRelay, ClientFrame::Data(offer.clone()).encode());
        wire.put(Device::New, Way::ToRelay, claim.encode());
        wire.put(Device::Trusted, Way::FromRelay, RelayFrame::PeerJoined { network: Network::Same }.encode());
        wire.put(Device::New, Way::FromRelay, RelayFrame::Data(offer).encode());
        wire.payload(Device::New, 0);
        let approval = wire.asked(Device::Trusted, What::Approval);
        assert_eq!(flights(&wire.seen, &[approval], Device::New), 3);

        wire.payload(Device::Trusted, 1);
        let check = wire.asked(Device::New, What::CheckCode);
        assert_eq!(flights(&wire.seen, &[check], Device::New), 4);

        // A round trip more would show.
        wire.payload(Device::New, 1);
        wire.payload(Device::Trusted, 2);
        let late = wire.asked(Device::New, What::CheckCode);
        assert_eq!(flights(&wire.seen, &[late], Device::New), 6);
    }
}
