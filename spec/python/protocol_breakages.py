"""Ways to break the protocol's code, for prove_protocol_checks_fail.py."""

from __future__ import annotations

from typing import NamedTuple


class Breakage(NamedTuple):
    """Replace a text in a file; it must be there so many times."""

    what: str
    file: str
    text: str
    replacement: str
    times: int = 1
    known: bool = False  # no vector notices it: impossible, or a vector is missing (says `what`)


B = Breakage
BREAKAGES = [
    # encodings
    B("a flag of 2 counts as yes", "encoding.py", 'self.choice((0, 1), "flag") == 1', "self.u8() != 0"),
    B("octets after the end are ignored", "encoding.py", "if self.at != len(self.data):", "if False:"),
    B("padding is not looked at", "encoding.py", "if any(self.take(length)):", "if self.take(length) is None:"),
    B("no limit of lengths", "encoding.py", "if length > limit:", "if False:"),
    B("text that is not UTF-8 is replaced", "encoding.py", '.decode("utf-8")', '.decode("utf-8", "replace")'),
    B("lists may hold a key twice", "encoding.py", "not first < second", "not first <= second"),
    B("lists in any order", "encoding.py", "if any(not first < second", "if any(False"),
    B("text may be blank", "text.py", "if all(is_white_space(c) for c in text):", "if False:"),
    B("text may be unprintable", "text.py", "if any(is_unprintable(c) for c in text):", "if False:"),
    B("extensions that must be understood are ignored", "objects.py", "if any(kind & MUST_UNDERSTAND for kind in types):", "if False:"),
    B("unknown extensions are refused", "objects.py", "if any(kind & MUST_UNDERSTAND for kind in types):", "if types:"),
    B("order of extensions is not checked", "objects.py", 'need_ascending(types, "extensions")', "pass"),
    B("order of requested entries is not checked", "objects.py", 'need_ascending([name.encode("utf-8") for name in entries], "requested entries")', "pass"),
    B("order of entries is not checked", "objects.py", 'need_ascending([name.encode("utf-8") for name, _ in entries], "entries")', "pass"),
    B("entries are ordered as Python orders text (impossible: the same order)", "objects.py", 'need_ascending([name.encode("utf-8") for name, _ in entries], "entries")', 'need_ascending([name for name, _ in entries], "entries")', 1, True),
    B("a request may ask for nothing", "objects.py", "if not unlock_key and not entries:", "if False:"),
    B("17 requested entries", "objects.py", "REQUESTED_ENTRIES_LIMIT = 16", "REQUESTED_ENTRIES_LIMIT = 17"),
    B("1025 entries", "objects.py", "ENTRIES_LIMIT = 1024", "ENTRIES_LIMIT = 1025"),
    B("a sign-in secret of 1025 octets", "objects.py", "SIGN_IN_SECRET_LIMIT = 1024", "SIGN_IN_SECRET_LIMIT = 1025"),
    B("257 octets of extensions", "objects.py", "EXTENSIONS_LIMIT = 256", "EXTENSIONS_LIMIT = 257"),
    B("a device name of 65 octets", "text.py", "DEVICE_NAME_LIMIT = 64", "DEVICE_NAME_LIMIT = 65"),
    B("a platform of 33 octets", "text.py", "PLATFORM_LIMIT = 32", "PLATFORM_LIMIT = 33"),
    B("a label of 129 octets", "text.py", "ACCOUNT_LABEL_LIMIT = 128", "ACCOUNT_LABEL_LIMIT = 129"),
    B("an entry name of 65 octets", "text.py", "ENTRY_NAME_LIMIT = 64", "ENTRY_NAME_LIMIT = 65"),
    B("a bundle of 262145 octets (impossible in a grant)", "objects.py", "reader.limited(len(octets), BUNDLE_LIMIT)", "pass", 1, True),
    B("accept: unknown kinds and other kinds are taken for it", "messages.py", "    if got != kind:\n", "    if False:\n"),
    B("a genesis statement of 513 octets (impossible: label and field are shorter)", "device.py", "reader.limited(len(octets), GENESIS_LIMIT)", "pass", 1, True),
    B("padding of hellos is not looked at", "objects.py", "reader.zeros(len(padded) - reader.at)", "pass"),
    B("request octet 2 counts as the bundle", "objects.py", 'if reader.choice((0, 1), "request") == 0:', "if reader.u8() != 1:"),
    # keys
    B("no modulus check in X-Wing keys", "x_wing.py", "    ml_kem.check_encapsulation_key(public_key[: ml_kem.EK_LENGTH])\n", ""),
    B("no low-order check in received X-Wing keys", "objects.py", "x_wing.check_public_key(key)", "x_wing.ml_kem.check_encapsulation_key(key[:1184])"),
    B("received X-Wing keys are not checked", "objects.py", "x_wing.check_public_key(key)", "pass"),
    B("identities of small order", "ed25519_strict.py", "if edwards.is_small_order(point):", "if False:"),
    # messages
    B("another version in the handshake is just refused", "messages.py", "if payload and payload[0] != VERSION:", "if False:"),
    B("another version later is ignored", "messages.py", "if not payload or payload[0] != VERSION:", "if not payload:"),
    B("another version later is `version`", "session.py", "            return self.judge(payload, due)", '            if payload[0] != 1:\n                raise Ended("version")\n            return self.judge(payload, due)'),
    B("messages that are not due are skipped", "session.py", '        payload = await self.mailbox.receive()\n        with', '        payload = await self.mailbox.receive()\n        while len(payload) < 2 or payload[1] not in (*due, ABORT):\n            payload = await self.mailbox.receive()\n        with'),
    B("whatever comes while a question is open is left for later", "session.py", "            if arrival.done():\n                await arrival  # raises: nothing was due\n            return await answer", "            return await answer"),
    # offer and code
    B("the QR code's hash is not compared", "handshake.py", "if offer_hash(octets) != self.qr_offer_hash:", "if False:"),
    B("the offer is decoded before its hash is compared", "handshake.py", "            if offer_hash(octets) != self.qr_offer_hash:", '            with refused_as("peer_misbehaved"):\n                objects.read_offer(octets)\n            if offer_hash(octets) != self.qr_offer_hash:'),
    B("mode and purpose of the offer are not compared", "handshake.py", "if (self.offer.mode, self.offer.purpose) != (self.intro.mode, self.intro.purpose):", "if False:"),
    B("a pair of mode and purpose that does not exist", "objects.py", "if (mode, purpose) not in SUITES:", "if False:"),
    B("an offer that does not open is peer_misbehaved", "handshake.py", 'with refused_as("wrong_offer"):', 'with refused_as("peer_misbehaved"):'),
    B("reflected shares are accepted", "cpace.py", "if peer_share == own_share:", "if False:"),
    B("the identity as K is accepted", "cpace.py", "if k == IDENTITY_ENCODING:", "if False:"),
    B("M1 refused in code mode is peer_misbehaved", "handshake.py", '"wrong_code" if code_mode else "peer_misbehaved"', '"peer_misbehaved"'),
    B("M1 refused in QR modes is wrong_code", "handshake.py", '"wrong_code" if code_mode else "peer_misbehaved"', '"wrong_code"'),
    B("octets after an accept", "handshake.py", "            sealed = reader.take(SEALED_HELLO)\n            reader.end()\n            if code_mode", "            sealed = reader.take(SEALED_HELLO)\n            if code_mode"),
    B("octets after a reply", "handshake.py", "            reader.end()\n            reverse", "            reverse"),
    B("the share is not in the associated data of M1", "handshake.py", "th_m0 + u8(ACCEPT) + share)", "th_m0 + u8(ACCEPT))"),
    # hellos
    B("T does not verify N's hello", "trusted.py", '            signing.verify(\n                new.identity, new.signature, b"handfast/1 hello of the new device", th,\n                octets[: -signing.SIGNATURE_LENGTH],\n            )\n', ""),
    B("N does not verify T's hello", "new_device.py", '            signing.verify(\n                trusted.identity, trusted.signature, b"handfast/1 hello of the trusted device",\n                th, octets[: -signing.SIGNATURE_LENGTH],\n            )\n', ""),
    B("the request need not fit the purpose", "trusted.py", 'if new.request.bundle != (intro.purpose == "enroll"):', "if False:"),
    B("knows-peer in enroll", "trusted.py", 'if new.knows_peer and intro.purpose == "enroll":', "if False:"),
    B("the commitment need not fit the mode", "new_device.py", 'if (trusted.commitment is not None) != (intro.mode == "qr-new"):', "if False:"),
    B("a commitment may be missing in qr-new", "new_device.py", 'if (trusted.commitment is not None) != (intro.mode == "qr-new"):', 'if trusted.commitment is not None and intro.mode != "qr-new":'),
    B("T of another account unlocks N", "new_device.py", "if self.own.account is not None and trusted.account_id != self.own.account.account_id:", "if False:"),
    B("M2 refused after it opened is answered with nothing", "trusted.py", "        self.session.channel = channel\n        new = self.read_hello(padded, intro, reader.th_m1)", "        new = self.read_hello(padded, intro, reader.th_m1)\n        self.session.channel = channel"),
    B("M2 refused after it opened is answered with nothing (N)", "new_device.py", "        self.session.channel = channel\n        trusted = self.read_hello(padded, reader.intro, reader.th_m1)", "        trusted = self.read_hello(padded, reader.intro, reader.th_m1)\n        self.session.channel = channel"),
    # check code
    B("T does not compare the digits", "trusted.py", "if not hmac.compare_digest(typed, right):", "if False:"),
    B("T takes no digits for wrong digits", "trusted.py", "typed = check_code.need_digits(channel.open(CHECK_CODE, body))", 'typed = channel.open(CHECK_CODE, body).decode("latin-1")'),
    B("octets of a CheckCode are not counted", "channel.py", "if len(body) != length + aead.TAG_LENGTH:", "if False:"),
    B("N accepts a CheckRequest at any time before the grant", "new_device.py", "if may_be_asked else (GRANT_CHUNK,)", "if True else (GRANT_CHUNK,)"),
    B("N accepts a CheckRequest after typing", "new_device.py", "            _, body = await self.session.receive(GRANT_CHUNK)\n        receiver", "            kind, body = await self.session.receive(GRANT_CHUNK, CHECK_REQUEST)\n            if kind == CHECK_REQUEST:\n                channel.open(kind, body)\n                _, body = await self.session.receive(GRANT_CHUNK)\n        receiver"),
    B("N accepts a CheckRequest between chunks", "new_device.py", "                _, body = await self.session.receive(GRANT_CHUNK)\n", "                kind, body = await self.session.receive(GRANT_CHUNK, CHECK_REQUEST)\n                if kind == CHECK_REQUEST:\n                    channel.open(kind, body)\n                    _, body = await self.session.receive(GRANT_CHUNK)\n"),
    B("the opening is not compared with the commitment", "grant.py", "if grant.opening is not None and check_code.commitment(grant.opening) != peer.commitment:", "if False:"),
    B("the commitment is compared only if digits were typed", "grant.py", "if grant.opening is not None and check_code.commitment(grant.opening) != peer.commitment:", "if not own.knows_peer and grant.opening is not None and check_code.commitment(grant.opening) != peer.commitment:"),
    B("the opening is not compared with the typed digits", "grant.py", "if typed is not None and", "if False and"),
    B("an opening missing or in another mode (vector missing: pinned unlock; elsewhere other checks see it)", "grant.py", 'if (grant.opening is not None) != (mode == "qr-new"):', "if False:", 1, True),
    # approval
    B("the unlock key for a device that is not recorded", "trusted.py", "if new.request.unlock_key and new.identity not in self.own.recorded:", "if False:"),
    B("an unrecorded device is refused the unlock key before the check code (vectors cannot tell)", "trusted.py", "        recorded = new.identity in self.own.recorded\n", '        recorded = new.identity in self.own.recorded\n        if new.request.unlock_key and not recorded:\n            raise Ended("not_recorded")\n', 1, True),
    B("an entry that does not exist is found before the approval (vectors cannot tell)", "trusted.py", "        approval = Approval(", "        self.content(new)\n        approval = Approval(", 1, True),
    B("entries that do not exist are left out", "objects.py", "        raise NoSuchEntry(missing[0])", "        request = replace(request, entries=tuple(n for n in request.entries if n in values))"),
    # grant
    B("the index of a chunk is not compared", "grant.py", "if index != self.next:", "if False:"),
    B("an empty chunk (other checks see it)", "grant.py", "if len(sealed) <= aead.TAG_LENGTH or", "if", 1, True),
    B("an over-full chunk (other checks see it)", "grant.py", " or len(sealed) > CHUNK + aead.TAG_LENGTH:", ":", 1, True),
    B("a chunk that is not full and not the last", "grant.py", "if not last and len(sealed) != CHUNK + aead.TAG_LENGTH:", "if False:"),
    B("the final flag is ignored: the length decides", "grant.py", "        return last\n", "        return len(sealed) < CHUNK + aead.TAG_LENGTH\n"),
    B("no check of a chunk's size", "grant.py", '        if len(sealed) <= aead.TAG_LENGTH or len(sealed) > CHUNK + aead.TAG_LENGTH:\n            raise BadLength("a chunk that is empty or over-full")\n        if not last and len(sealed) != CHUNK + aead.TAG_LENGTH:\n            raise BadLength("a chunk that is not full and not the last")\n', ""),
    B("account, genesis and bundle of the grant are not compared", "grant.py", "!= grant.account_id:", "!= grant.account_id and False:", 2),
    B("N's own name is not checked (vectors cannot tell)", "new_device.py", "check_own_name(own.name, DEVICE_NAME_LIMIT)", "own.name", 1, True),
    B("T does not read before the first chunk", "trusted.py", "        await self.session.read_what_is_there()\n", ""),
    B("no limit of the grant (vector missing)", "grant.py", "if len(self.plaintext) > TOTAL_LIMIT:", "if False:", 1, True),
    B("the header of a chunk is not in its associated data", "grant.py", "return th + u8(GRANT_CHUNK) + u16(index) + flag(last)", "return th + u8(GRANT_CHUNK)"),
    B("the account of the grant is not compared (vector missing: genesis and bundle see it)", "grant.py", "if grant.account_id != peer.account_id:", "if False:", 1, True),
    B("the statement is not verified", "grant.py", '    signing.verify(peer.identity, grant.statement, b"handfast/1 grant signature", *parts)\n', ""),
    B("the content kind is not compared (vector missing: the content sees it)", "grant.py", "    if grant.purpose != purpose:\n", "    if False:\n", 1, True),
    B("the genesis statement is not verified", "grant.py", "    device.read_genesis(grant.genesis)\n", ""),
    B("the account of the genesis statement is not compared", "grant.py", "if device.account_id(grant.genesis) != grant.account_id:", "if False:"),
    B("the account of the bundle is not compared", "grant.py", "if bundle.account_id != grant.account_id:", "if False:"),
    B("a genesis statement in unlock", "grant.py", "    if grant.genesis:\n", "    if False:\n"),
    B("items need not be those that were asked for", "grant.py", "    objects.need_exactly(items, request)\n", ""),
    B("the unlock key may come unasked, or be missing", "objects.py", "if (items.unlock_key is not None) != request.unlock_key:", "if False:"),
    B("entries may be others", "objects.py", "if tuple(name for name, _ in items.entries) != request.entries:", "if False:"),
    B("any bucket", "grant.py", "if len(content) + padding != bucket(len(content)):", "if False:"),
    B("a bucket that is not the smallest", "grant.py", "if len(content) + padding != bucket(len(content)):", "if len(content) + padding not in BUCKETS:"),
    B("padding of a grant is not looked at", "grant.py", "    reader.zeros(padding)\n", ""),
    B("padding of the founding field is not looked at", "grant.py", "    founding.zeros(FOUNDING - founding.at)\n", ""),
    B("a grant over 262144 octets of content (impossible: no bucket)", "grant.py", "content = reader.bytes32(CONTENT_LIMIT)", "content = reader.bytes32(2**32)", 1, True),
    # receipt, aborts, outcomes
    B("the receipt is not verified", "trusted.py", '            signing.verify(\n                new.identity, signature, b"handfast/1 receipt", self.account_id, th\n            )\n', ""),
    B("the receipt is over th before M3", "trusted.py", "        th = channel.th  # through M3\n", "        th = channel.session\n"),
    B("an abort that does not open ends the run as peer_failed", "session.py", "raise of_abort(self.channel.open_abort(body))", "try:\n                reason = self.channel.open_abort(body)\n            except ValueError:\n                reason = 6\n            raise of_abort(reason)"),
    B("aborts are bound to the running transcript", "channel.py", "self._open(self.session + u8(ABORT), body)", "self._open(self.th + u8(ABORT), body)"),
    B("own aborts are bound to the running transcript", "channel.py", "self._seal(self.session + u8(ABORT), u8(reason))", "self._seal(self.th + u8(ABORT), u8(reason))"),
    B("reason 8 means protocol", "channel.py", "if len(plaintext) != 1 or plaintext[0] >= len(ABORTS):\n            raise BadEncoding(\"an abort whose reason is unknown\")\n        return plaintext[0]", "if len(plaintext) != 1:\n            raise BadEncoding(\"an abort whose reason is unknown\")\n        return min(plaintext[0], 6)"),
    B("a reason of two octets: the first counts", "channel.py", "if len(plaintext) != 1 or plaintext[0]", "if not plaintext or plaintext[0]"),
    B("an abort is answered", "outcomes.py", "ABORTS[reason]}\", silent=True)", "ABORTS[reason]}\", silent=False)"),
    B("aborts are not answered for what was refused", "outcomes.py", '    "peer_misbehaved": "protocol",\n', ""),
    B("T: no `unknown` after the grant", "session.py", "if self.suspect is not None and may_hold_bundle(ended):", "if False:"),
    B("T: `not stored` is `unknown` too", "outcomes.py", 'return cause.outcome != "peer_did_not_store"', "return True"),
    B("`unknown` closes with its cause's reason", "session.py", "await self.mailbox.close(close_reason(failed.outcome), farewell)", "await self.mailbox.close(close_reason(ended.outcome), farewell)"),
    B("peer_misbehaved closes with failed", "outcomes.py", '    "peer_misbehaved": CLOSE_BURNED,\n', ""),
    B("wrong_code closes with failed", "outcomes.py", '    "wrong_code": CLOSE_BURNED,\n', ""),
    B("version burns", "outcomes.py", '    "expired": CLOSE_EXPIRED,\n}', '    "expired": CLOSE_EXPIRED,\n    "version": CLOSE_BURNED,\n}'),
    B("wrong_offer burns", "outcomes.py", '    "expired": CLOSE_EXPIRED,\n}', '    "expired": CLOSE_EXPIRED,\n    "wrong_offer": CLOSE_BURNED,\n}'),
]
