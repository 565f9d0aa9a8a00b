"""The device's half of relay.md as rules without I/O: sections 5, 6.1 and 8.

Whoever drives this says what happened (socket_opened, message, socket_lost, tick) and takes away
what is to be sent (outgoing). Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from . import frames
from .frame_types import (
    Ack,
    Allocate,
    Allocated,
    Claim,
    Close,
    Data,
    Ended,
    Error,
    Frame,
    Joined,
    Lifetime,
    Network,
    Open,
    Peer,
    PeerClosed,
    PeerFreed,
    PeerJoined,
    PeerLeft,
    Reason,
    Resume,
    Resumed,
    Slot,
    ThirdClaim,
)
from .relay_causes import Cause, cause_of_close, cause_of_end, cause_of_error

WINDOW = 8
MAX_PAYLOADS = 64
ACK_EVERY = 4
ANSWER_SECONDS = 30.0
CODE_CLAIMABLE_SECONDS = 300.0
QR_CLAIMABLE_SECONDS = 120.0
LIFETIME_MS, LINGER_MS, MAX_MS = 600_000, 120_000, 900_000
MAX_NOTICES = 32


class _Misbehaved(Exception):
    """The relay broke a rule: relay_misbehaved, with the words of this exception."""


class Rules:
    """One run of a device: one slot, one or more sockets."""

    def __init__(
        self,
        question: Allocate | Open | Claim,
        displayer: bool,
        notice: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.question = question
        self.displayer = displayer
        self._notice = notice
        self._notices = 0
        # what section 6.1 lists
        self.id: bytes | None = None
        self.nameplate = question.nameplate if isinstance(question, Claim) else None
        self.out: dict[int, bytes] = {}
        self.acked = 0
        self.next = 0
        self.received = 0
        self.said = 0
        self.settled = False
        # and what follows from its sentences
        self.queued = 0  # payloads handed over so far: the number of the next one
        self.sent = 0  # how many were ever sent, on any socket
        self.payloads: deque[bytes] = deque()  # received, not taken yet
        self.network = Network.UNKNOWN
        self.ended: Cause | None = None
        self.joined = False  # the first answer of the run was there
        # of this socket
        self._asked: Frame | None = None
        self._to_send: deque[Frame] = deque()
        self._answered = False
        self._settled_said = False
        self._ack_now = False
        self._relay_closes = False  # after Ended or Error
        self._answer_due: float | None = None
        # deadlines
        self._linger = 0.0
        self._cap: float | None = None
        self.end: float | None = None
        self._claim_due: float | None = None
        self._claimed = False
        # closing
        self._closing: tuple[Reason, bytes | None] | None = None
        self.closed = False  # Close was sent, or cannot be

    # --- what happens ---

    def socket_opened(self, now: float) -> None:
        """6.1, "Socket open"."""
        self._answered = self._settled_said = self._relay_closes = False
        if self.id is not None:
            self._asked = Resume(self.id, self.question.token, self.received)
        else:
            self._asked = self.question
            self._answer_due = now + ANSWER_SECONDS
        self._to_send = deque([self._asked])

    def socket_lost(self) -> None:
        """Nothing is lost with it (section 8)."""
        self._asked = self._answer_due = None
        self._answered = False
        self._to_send.clear()

    def message(self, data: bytes, now: float) -> None:
        """A binary message of the relay. After the end of the run nothing counts any more."""
        if self.ended or (self._closing and self._answered):
            return
        try:
            self._frame(frames.decode_relay(data), now)
        except frames.Malformed as malformed:
            self._end(Cause("relay_misbehaved", f"malformed frame: {malformed}"))
        except _Misbehaved as misbehaved:
            self._end(Cause("relay_misbehaved", str(misbehaved)))

    def tick(self, now: float) -> None:
        """See whether a deadline has passed."""
        if self.ended or self._closing:
            return
        if self._answer_due is not None and now >= self._answer_due:
            self._end(Cause("relay_misbehaved", "no answer to the first frame in 30 s"))
        elif self.end is not None and now >= self.end:
            self._end(Cause("expired", "the mailbox's time is over"))
        elif self._claim_counts() and self._claim_due is not None and now >= self._claim_due:
            self._end(Cause("expired", "nobody has claimed the offer in time"))

    def next_deadline(self) -> float | None:
        """When tick has to be called next."""
        times = [self._answer_due, self.end, self._claim_due if self._claim_counts() else None]
        return min((time for time in times if time is not None), default=None)

    # --- what the device wants ---

    def queue(self, payload: bytes) -> None:
        """Take a payload; its bytes are kept until they are acknowledged."""
        if not 1 <= len(payload) <= frames.MAX_PAYLOAD:
            raise ValueError(f"a payload of {len(payload)} bytes")
        self.out[self.queued] = payload
        self.queued += 1

    def settle(self) -> None:
        """Section 4.2: from M2 on."""
        self.settled = True

    def acknowledge(self) -> None:
        """Ack now instead of with the next data."""
        self._ack_now = True

    def delivered(self) -> bool:
        """Whether the relay said that the peer has all that was handed over."""
        return self.acked == self.queued

    def close(self, reason: Reason, farewell: bytes | None) -> None:
        """6.1, "Closing"; the frames come out of outgoing."""
        if self._closing is None:
            self._closing = (reason, farewell)

    def can_close(self) -> bool:
        """Whether there is a socket that takes a Close, now or after an answer still to come."""
        waiting = self._asked is not None and not self._relay_closes and not self.closed
        return waiting and (self._answered or self.ended is None)

    def outgoing(self, now: float) -> list[bytes]:
        """6.1, "Sending", "Acknowledging" and "Closing": what to send now."""
        result = list(self._to_send)
        self._to_send.clear()
        if not self._answered or self._relay_closes or self.closed:
            return [frames.encode(frame) for frame in result]
        result += self._data_that_fits(now)
        if self._closing and self._closing[1] is not None and self.next == self.queued:
            self.queue(self._closing[1])  # the farewell, last
            result += self._data_that_fits(now)
        if self._ack_due():
            result.append(Ack(self.received, self.settled))
            self._said()
        if self._closing:
            result.append(Close(self._closing[0]))
            self.closed = True
        return [frames.encode(frame) for frame in result]

    def _data_that_fits(self, now: float) -> list[Frame]:
        """6.1, "Sending"."""
        result: list[Frame] = []
        while self.next - self.acked < WINDOW and self.next in self.out:
            result.append(Data(self.next, self.received, self.settled, self.out[self.next]))
            self.next += 1
            self.sent = max(self.sent, self.next)
            self._said()
            self._prolong(now)
        return result

    # --- 6.1, in its own order ---

    def _frame(self, frame: Frame, now: float) -> None:
        if isinstance(frame, Error):
            self._relay_closes = True
            self._end(cause_of_error(frame, self.displayer))
        elif isinstance(frame, Ended):
            self._relay_closes = True
            self._end(cause_of_end(frame))
        elif isinstance(frame, Allocated | Joined | Resumed):
            self._answer(frame, now)
        elif not self._answered:
            raise _Misbehaved(f"{frame.NAME} before the answer")
        elif isinstance(frame, Data):
            self._data(frame, now)
        elif isinstance(frame, Ack):
            self._acknowledged(frame.ack)
        elif isinstance(frame, PeerClosed):
            self._end(cause_of_close(frame))
        else:
            self._peer(frame)

    def _answer(self, frame: Allocated | Joined | Resumed, now: float) -> None:
        answers = {Allocate: Allocated, Open: Joined, Claim: Joined, Resume: Resumed}
        if self._answered or not isinstance(frame, answers[type(self._asked)]):
            raise _Misbehaved(f"{frame.NAME} is no answer here")
        if isinstance(self._asked, Open) and frame.mailbox_id != self._asked.mailbox_id:
            raise _Misbehaved("Joined for another mailbox")
        received = 0 if isinstance(frame, Allocated) else frame.received
        if not self.acked <= received <= self.sent:
            raise _Misbehaved(f"the relay has {received} frames, that cannot be")
        self._answered, self._answer_due = True, None
        self.next, self.said = received, 0
        if not isinstance(frame, Resumed):
            self.id = frame.mailbox_id
        if isinstance(frame, Allocated):
            self.nameplate = frame.nameplate
        if not self.joined:
            self.joined = True
            self._begin(frame.lifetime, now)
        if isinstance(frame, Joined):
            self._network_hint(frame.network)
            self._slot(frame.slot)
        if isinstance(frame, Resumed):
            self._peer_on_resume(frame.peer)

    def _slot(self, slot: Slot) -> None:
        """Section 8: a displayer is first, a reader second. Close can be sent in either case."""
        if self.displayer and slot != Slot.FIRST:
            raise _Misbehaved("not alone with the secret mailbox id")
        if not self.displayer and slot != Slot.SECOND:
            self._end(Cause("no_such_offer", "nobody is there"))

    def _begin(self, lifetime: Lifetime, now: float) -> None:
        """Section 5, the device's own end; and the time in which an offer can be claimed."""
        self._linger = min(lifetime.linger, LINGER_MS) / 1000
        self._cap = now + min(lifetime.max, MAX_MS) / 1000
        self.end = min(self._cap, now + min(lifetime.remaining, LIFETIME_MS) / 1000)
        if self.displayer:
            by_code = isinstance(self.question, Allocate)
            self._claim_due = now + (CODE_CLAIMABLE_SECONDS if by_code else QR_CLAIMABLE_SECONDS)

    def _prolong(self, now: float) -> None:
        """Section 5: each data frame sent, each new one received."""
        if self._cap is not None and self.end is not None:
            self.end = min(self._cap, max(self.end, now + self._linger))

    def _data(self, frame: Data, now: float) -> None:
        self._acknowledged(frame.ack)
        if frame.seq < self.received:
            return
        if frame.seq > self.received or self.received == MAX_PAYLOADS:
            raise _Misbehaved(f"data {frame.seq} where {self.received} is next")
        self.received += 1
        self.payloads.append(frame.payload)
        self._claim_due = None  # the offer is reserved or burned
        self._prolong(now)

    def _acknowledged(self, ack: int) -> None:
        if ack > self.next:
            raise _Misbehaved(f"ack {ack} of {self.next} frames")
        for number in range(self.acked, ack):
            del self.out[number]
        self.acked = max(self.acked, ack)

    def _ack_due(self) -> bool:
        unsaid = self.received - self.said
        wanted = unsaid >= ACK_EVERY or (unsaid > 0 and (self._ack_now or bool(self._closing)))
        return wanted or (self.settled and not self._settled_said)

    def _said(self) -> None:
        self.said = self.received
        self._settled_said = self.settled
        self._ack_now = False

    # --- hints (section 8) ---

    def _peer(self, frame: Frame) -> None:
        if isinstance(frame, PeerJoined):
            self._claimed = True
            self._network_hint(frame.network)
            self._tell("a device has come")
        elif isinstance(frame, PeerLeft):
            self._tell("the other device has lost its connection")
        elif isinstance(frame, PeerFreed):
            self._freed()
        elif isinstance(frame, ThirdClaim):
            self._tell("a third device was turned away")

    def _peer_on_resume(self, peer: Peer) -> None:
        if peer == Peer.ABSENT:
            self._freed()
        elif peer == Peer.PRESENT:
            self._peer(PeerJoined(Network.UNKNOWN))
        elif peer == Peer.AWAY:
            self._peer(PeerLeft())

    def _freed(self) -> None:
        self._claimed = False
        self.network = Network.UNKNOWN
        self._tell("the device that came is gone")

    def _claim_counts(self) -> bool:
        return self._claim_due is not None and not self._claimed

    def _network_hint(self, network: Network) -> None:
        if network != Network.UNKNOWN:
            self.network = network

    def _tell(self, words: str) -> None:
        if self._notices < MAX_NOTICES:
            self._notices += 1
            self._notice(words)

    def _end(self, cause: Cause) -> None:
        if self.ended is None:
            self.ended = cause
