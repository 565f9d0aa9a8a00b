//! A mailbox as bytes, for a store that several nodes share. Frames are kept beside it: here only their lengths stand.
//!
//! One encoding per mailbox. Fields are taken apart by name, so that a new one cannot be forgotten.

use super::side::{Notices, Presence, Sent, Side, TokenHash};
use super::{ConnectionId, Ending, Frame, Mailbox};
use crate::network::NetworkPrefix;
use crate::time::Time;
use handfast_wire::codec::{Reader, Writer};
use handfast_wire::{CloseReason, DecodeError, EndReason, Network};
use std::collections::VecDeque;
use tokio_tungstenite::tungstenite::Bytes;

/// The version of this encoding. Nodes of different versions do not read each other's mailboxes.
const VERSION: u8 = 1;

/// A data frame whose bytes are in the store, or on their way there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// Its number in its direction.
    pub(crate) number: u32,
    pub(crate) len: u32,
    /// Here only from when a device sent it until the store has it.
    pub(crate) bytes: Option<Bytes>,
}

impl Frame for Kept {
    fn len(&self) -> usize {
        self.len.try_into().unwrap_or(usize::MAX)
    }
}

impl Mailbox<Kept> {
    pub(crate) fn write(&self, w: &mut Writer) {
        let Self { born, last_data, claimed_at, frames, bytes, ending, freed, first, second } = self;
        w.u8(VERSION);
        time(w, *born);
        optional(w, last_data.as_ref(), |w, at| time(w, *at));
        optional(w, claimed_at.as_ref(), |w, at| time(w, *at));
        w.u32(*frames).u32(*bytes);
        w.u8(match ending {
            None => 0,
            Some(Ending::Closed) => 1,
            Some(Ending::Because(reason)) => reason.code() + 2,
        });
        optional(w, freed.as_ref(), connection);
        side(w, first);
        side(w, second);
    }

    /// Refuses what [`Mailbox::write`] does not write.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.u8()? != VERSION {
            return Err(DecodeError::BadValue("version of a stored mailbox"));
        }
        Ok(Self {
            born: read_time(r)?,
            last_data: read_optional(r, read_time)?,
            claimed_at: read_optional(r, read_time)?,
            frames: r.u32()?,
            bytes: r.u32()?,
            ending: match r.u8()? {
                0 => None,
                1 => Some(Ending::Closed),
                code => Some(Ending::Because(EndReason::from_code(code - 2)?)),
            },
            freed: read_optional(r, read_connection)?,
            first: read_side(r)?,
            second: read_side(r)?,
        })
    }
}

fn side(w: &mut Writer, side: &Side<Kept>) {
    // What is woken is woken by whoever took the step.
    let Side { token, connection: socket, network, settled, closed, sent, delivered, notices, woken: _ } = side;
    optional(w, token.as_ref(), |w, token| {
        w.raw(&token.0);
    });
    optional(w, socket.as_ref(), connection);
    optional(w, network.as_ref(), |w, prefix| {
        match prefix {
            NetworkPrefix::V4(bytes) => w.u8(4).raw(bytes),
            NetworkPrefix::V6(bytes) => w.u8(6).raw(bytes),
        };
    });
    flag(w, *settled);
    optional(w, closed.as_ref(), |w, reason| {
        w.u8(reason.code());
    });
    let Sent { count, stored, bytes: _, acked, credited } = sent;
    w.u32(*count).u32(u32::try_from(stored.len()).unwrap_or(u32::MAX));
    for frame in stored {
        w.u32(frame.len);
    }
    w.u32(*acked).u32(*credited).u32(*delivered);
    let Notices { freed, presence, third_claim, ack, closed } = notices;
    flag(w, *freed);
    w.u8(match presence {
        None => 0,
        Some(Presence::Left) => 1,
        Some(Presence::Joined(network)) => network.code() + 2,
    });
    flag(w, *third_claim);
    flag(w, *ack);
    flag(w, *closed);
}

fn read_side(r: &mut Reader<'_>) -> Result<Side<Kept>, DecodeError> {
    Ok(Side {
        token: read_optional(r, |r| Ok(TokenHash(r.array()?)))?,
        connection: read_optional(r, read_connection)?,
        network: read_optional(r, |r| match r.u8()? {
            4 => Ok(NetworkPrefix::V4(r.array()?)),
            6 => Ok(NetworkPrefix::V6(r.array()?)),
            _ => Err(DecodeError::BadValue("network prefix")),
        })?,
        settled: read_flag(r)?,
        closed: read_optional(r, |r| CloseReason::from_code(r.u8()?))?,
        sent: read_sent(r)?,
        delivered: r.u32()?,
        notices: Notices {
            freed: read_flag(r)?,
            presence: match r.u8()? {
                0 => None,
                1 => Some(Presence::Left),
                code => Some(Presence::Joined(Network::from_code(code - 2)?)),
            },
            third_claim: read_flag(r)?,
            ack: read_flag(r)?,
            closed: read_flag(r)?,
        },
        woken: false,
    })
}

fn read_sent(r: &mut Reader<'_>) -> Result<Sent<Kept>, DecodeError> {
    let (count, kept) = (r.u32()?, r.u32()?);
    let oldest = count.checked_sub(kept).ok_or(DecodeError::BadValue("number of stored frames"))?;
    let mut stored = VecDeque::new();
    let mut bytes = 0;
    for number in oldest..count {
        let frame = Kept { number, len: r.u32()?, bytes: None };
        bytes += frame.len();
        stored.push_back(frame);
    }
    Ok(Sent { count, stored, bytes, acked: r.u32()?, credited: r.u32()? })
}

fn time(w: &mut Writer, time: Time) {
    u64(w, time.0);
}

fn read_time(r: &mut Reader<'_>) -> Result<Time, DecodeError> {
    Ok(Time(read_u64(r)?))
}

fn connection(w: &mut Writer, id: &ConnectionId) {
    u64(w, id.node);
    u64(w, id.number);
}

fn read_connection(r: &mut Reader<'_>) -> Result<ConnectionId, DecodeError> {
    Ok(ConnectionId { node: read_u64(r)?, number: read_u64(r)? })
}

fn u64(w: &mut Writer, value: u64) {
    w.raw(&value.to_be_bytes());
}

fn read_u64(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    Ok(u64::from_be_bytes(r.array()?))
}

fn flag(w: &mut Writer, flag: bool) {
    w.u8(flag.into());
}

fn read_flag(r: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::BadValue("flag")),
    }
}

fn optional<T>(w: &mut Writer, value: Option<&T>, write: impl FnOnce(&mut Writer, &T)) {
    flag(w, value.is_some());
    if let Some(value) = value {
        write(w, value);
    }
}

fn read_optional<T>(
    r: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if read_flag(r)? { read(r).map(Some) } else { Ok(None) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::{Arrival, Config, Entry, Output, other};
    use super::*;
    use handfast_wire::{Ack, DataHeader, Flags, MailboxId, ResumeToken, Slot};
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Op {
        Join(u8),
        Resume(u8, u32),
        Data { second: bool, seq: u32, ack: u32, settled: bool },
        Ack { second: bool, ack: u32, settled: bool },
        Close { second: bool },
        Detach { second: bool },
        Pass(u16),
        Poll { second: bool },
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let side = any::<bool>();
        let op = prop_oneof![
            3 => (0u8..3).prop_map(Op::Join),
            2 => (0u8..3, 0u32..6).prop_map(|(token, received)| Op::Resume(token, received)),
            6 => (side, 0u32..6, 0u32..4, any::<bool>())
                .prop_map(|(second, seq, ack, settled)| Op::Data { second, seq, ack, settled }),
            3 => (side, 0u32..4, any::<bool>()).prop_map(|(second, ack, settled)| Op::Ack { second, ack, settled }),
            1 => side.prop_map(|second| Op::Close { second }),
            2 => side.prop_map(|second| Op::Detach { second }),
            1 => any::<u16>().prop_map(Op::Pass),
            6 => side.prop_map(|second| Op::Poll { second }),
        ];
        proptest::collection::vec(op, 1..60)
    }

    fn bytes(mailbox: &Mailbox<Kept>) -> Vec<u8> {
        let mut w = Writer::default();
        mailbox.write(&mut w);
        w.into_bytes()
    }

    /// What a step came to, as text.
    fn step(mailbox: &mut Mailbox<Kept>, config: &Config, now: Time, number: u64, op: &Op) -> String {
        let connection = ConnectionId { node: number % 2, number };
        let arrival = |token: u8| {
            let address = if token == 1 { [192, 0, 2, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            Arrival::new(&ResumeToken([token; 16]), connection, (token < 2).then(|| NetworkPrefix::of(address)))
        };
        let slot = |second: bool| if second { Slot::Second } else { Slot::First };
        let seat =
            |mailbox: &Mailbox<Kept>, second| (slot(second), mailbox.connection(slot(second)).unwrap_or(connection));
        match *op {
            Op::Join(token) => match mailbox.join(now, config, MailboxId([1; 16]), arrival(token)) {
                Entry::Seated(slot, frame) => format!("{slot:?} {frame:?}"),
                Entry::Refused(frame) => format!("{frame:?}"),
            },
            Op::Resume(token, received) => format!("{:?}", mailbox.resume(now, config, arrival(token), received)),
            Op::Data { second, seq, ack, settled } => {
                let header = DataHeader { seq, ack, flags: Flags { settled } };
                let frame = Kept { number: seq, len: 100 + seq, bytes: None };
                let seat = seat(mailbox, second);
                format!("{:?}", mailbox.data(now, config, seat, header, frame))
            }
            Op::Ack { second, ack, settled } => {
                let seat = seat(mailbox, second);
                format!("{:?}", mailbox.ack(seat, Ack { ack, flags: Flags { settled } }))
            }
            Op::Close { second } => {
                let seat = seat(mailbox, second);
                mailbox.close(seat, CloseReason::Burned);
                String::new()
            }
            Op::Detach { second } => {
                let seat = seat(mailbox, second);
                mailbox.detach(seat);
                String::new()
            }
            Op::Pass(_) => {
                mailbox.catch_up(now, config);
                String::new()
            }
            Op::Poll { second } => {
                let seat = seat(mailbox, second);
                let output: Option<Output<Kept>> = mailbox.poll_output(seat);
                let stored = (mailbox.stored_bytes(), mailbox.kept(other(slot(second))).len());
                format!("{output:?} {stored:?}")
            }
        }
    }

    proptest! {
        /// Written and read between any two steps, a mailbox does what it would have done.
        #[test]
        fn a_mailbox_survives_the_store(ops in ops()) {
            let config = Config::default();
            let mut now = Time(1_000_000);
            let (mut kept, mut stored) = (Mailbox::new(now), Mailbox::new(now));
            for (number, op) in (1u64..).zip(&ops) {
                if let Op::Pass(time) = op {
                    now = now + Duration::from_millis((*time).into());
                }
                let expected = step(&mut kept, &config, now, number, op);
                let written = bytes(&stored);
                let mut r = Reader::new(&written);
                stored = Mailbox::read(&mut r).unwrap();
                r.finish().unwrap();
                prop_assert_eq!(bytes(&stored), written, "what is read is written the same");
                prop_assert_eq!(step(&mut stored, &config, now, number, op), expected);
                // Who is woken is not stored: it is known when the step is over.
                kept.take_woken().for_each(drop);
            }
        }

        #[test]
        fn nonsense_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Mailbox::<Kept>::read(&mut Reader::new(&bytes));
        }

        /// A damaged state either is refused or is another state that is written the same.
        #[test]
        fn every_state_has_one_encoding(ops in ops(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let config = Config::default();
            let mut mailbox = Mailbox::new(Time(0));
            for (number, op) in (1u64..).zip(&ops) {
                step(&mut mailbox, &config, Time(1), number, op);
            }
            let mut damaged = bytes(&mailbox);
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            let mut r = Reader::new(&damaged);
            if let Ok(read) = Mailbox::<Kept>::read(&mut r)
                && r.finish().is_ok()
            {
                prop_assert_eq!(bytes(&read), damaged);
            }
        }
    }
}
