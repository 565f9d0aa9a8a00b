"""A device's state in one JSON file, mode 0600, replaced atomically.

For checks, not for real secrets: the device key lies in it as it is. The bundle is sealed as
protocol.md, "Accounts and device keys", says for a bundle at rest.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from . import device, objects
from .errors import Refused
from .interfaces import Account, Enrollment, NewDevice, NewDeviceRecord, TrustedDevice

COMMENT = "handfast_spec, for checks only: do not keep real secrets here"
VERSION = 1


class NoState(Exception):
    """There is no such file, or no account in it."""


class DamagedState(Exception):
    """The file is no state, or its bundle does not open."""


class UnwritableState(Exception):
    """The file cannot be written."""


@dataclass
class DeviceRecord:
    """T's record of a device that it let in: not confirmed until its receipt verified."""

    identity: str
    wrapping_key: str
    name: str
    platform: str
    statement: str
    th_before_grant: str
    confirmed: bool


@dataclass
class LetInBy:
    """N's record of the T that let it in."""

    identity: str
    name: str
    statement: str
    th_before_grant: str


@dataclass
class State:
    """All octets are in lower-case hexadecimal."""

    device_key: str
    name: str
    account_label: str = ""
    genesis: str = ""
    sealed_bundle: str = ""
    let_in_by: LetInBy | None = None
    devices: list[DeviceRecord] = field(default_factory=list)
    burned: list[float] = field(default_factory=list)  # seconds since 1970

    # --- the file ---

    @classmethod
    def load(cls, path: Path) -> State:
        """Read it whole; an unknown or missing field is damage."""
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise NoState(f"no state in {path}") from None
        except (OSError, ValueError) as error:
            raise DamagedState(f"{path}: {error}") from error
        try:
            if content.pop("comment") != COMMENT or content.pop("version") != VERSION:
                raise ValueError("another version")
            content["devices"] = [DeviceRecord(**record) for record in content["devices"]]
            if content["let_in_by"] is not None:
                content["let_in_by"] = LetInBy(**content["let_in_by"])
            state = cls(**content)
            _check_hex(asdict(state))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedState(f"{path}: {error}") from error
        return state

    def save(self, path: Path) -> None:
        """Write a new file, sync it, put it in the place of the old one, sync the directory."""
        content = {"comment": COMMENT, "version": VERSION, **asdict(self)}
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(handle, "w") as file:
                    json.dump(content, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise UnwritableState(f"{path}: {error}") from error

    # --- what it holds ---

    @classmethod
    def fresh(cls, name: str) -> State:
        """A device without an account."""
        return cls(secrets.token_bytes(32).hex(), name)

    @property
    def keys(self) -> device.DeviceKeys:
        """What follows from the device key."""
        return device.DeviceKeys.derive(bytes.fromhex(self.device_key))

    @property
    def enrolled(self) -> bool:
        """Whether there is an account."""
        return bool(self.genesis)

    @property
    def account_id(self) -> bytes:
        """Of the account; NoState without one."""
        if not self.enrolled:
            raise NoState("this device has no account")
        return device.account_id(bytes.fromhex(self.genesis))

    def recorded(self) -> frozenset[bytes]:
        """"Accounts and device keys", last sentence."""
        identities = [record.identity for record in self.devices if record.confirmed]
        if self.let_in_by is not None:
            identities.append(self.let_in_by.identity)
        return frozenset(bytes.fromhex(identity) for identity in identities)

    def found(self, label: str) -> None:
        """Make an account, with an empty bundle."""
        genesis = device.make_genesis(self.keys.identity_seed, label, secrets.token_bytes(32))
        device.read_genesis(genesis)  # refuses a bad label
        self.account_label, self.genesis = label, genesis.hex()
        secret = secrets.token_bytes(32)
        unlock_key = secrets.token_bytes(32)
        self.set_bundle(objects.Bundle(self.account_id, label, unlock_key, secret, ()))

    def set_bundle(self, bundle: objects.Bundle) -> None:
        """Seal it; raises Refused if it breaks a limit."""
        octets = bundle.encode()
        objects.read_bundle(octets)
        self._seal(octets)

    def _seal(self, octets: bytes) -> None:
        nonce = secrets.token_bytes(24)
        self.sealed_bundle = device.seal_bundle(self.keys, self.account_id, nonce, octets).hex()

    def bundle_octets(self) -> bytes:
        """The bundle, opened."""
        account_id = self.account_id
        try:
            sealed = bytes.fromhex(self.sealed_bundle)
            return device.open_bundle(self.keys, account_id, sealed)
        except Refused as error:
            raise DamagedState(f"the bundle does not open: {error}") from error

    def bundle(self) -> objects.Bundle:
        """The bundle, decoded."""
        octets = self.bundle_octets()
        try:
            return objects.read_bundle(octets)
        except Refused as error:
            raise DamagedState(f"the bundle does not decode: {error}") from error

    # --- as the roles want it ---

    def trusted_device(self) -> TrustedDevice:
        """T; NoState without an account."""
        return TrustedDevice(
            bytes.fromhex(self.device_key),
            self.name,
            bytes.fromhex(self.genesis) if self.account_id else b"",
            self.bundle_octets(),
            self.recorded(),
            self.account_label,
        )

    def new_device(self, platform: str) -> NewDevice:
        """N."""
        account = Account(self.account_id, self.recorded()) if self.enrolled else None
        return NewDevice(bytes.fromhex(self.device_key), self.name, platform, account)

    # --- what runs leave behind ---

    def put_record(self, record: NewDeviceRecord, confirmed: bool) -> None:
        """T: one record for each identity, the last one counts."""
        values: dict[str, Any] = {"confirmed": confirmed}
        for item in fields(record):
            value = getattr(record, item.name)
            values[item.name] = value.hex() if isinstance(value, bytes) else value
        entry = DeviceRecord(**values)
        self.devices = [one for one in self.devices if one.identity != entry.identity] + [entry]

    def put_enrollment(self, enrollment: Enrollment) -> None:
        """N: from now on a trusted device of this account."""
        self.account_label = enrollment.account_label
        self.genesis = enrollment.genesis.hex()
        self.let_in_by = LetInBy(
            enrollment.trusted_identity.hex(),
            enrollment.trusted_name,
            enrollment.statement.hex(),
            enrollment.th_before_grant.hex(),
        )
        self._seal(enrollment.bundle)


def _check_hex(value: Any, name: str = "") -> None:
    """Every field that holds octets does."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_hex(inner, key)
    elif isinstance(value, list):
        for inner in value:
            _check_hex(inner, name)
    elif name not in ("name", "platform", "account_label") and isinstance(value, str):
        bytes.fromhex(value)
