"""Where a relay is (relay.md, section 2, and the hint of protocol.md, "QR code")."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .interfaces import RelayHint

PATH = "/v1"
DEFAULT_PORTS = {"ws": 8474, "wss": 443}


class BadAddress(ValueError):
    """No address of a relay."""


@dataclass(frozen=True)
class RelayAddress:
    """Scheme, host and port; the path is the version and not part of it."""

    scheme: str
    host: str  # IPv6 without brackets
    port: int

    @staticmethod
    def parse(text: str) -> RelayAddress:
        """ws://HOST[:PORT] or wss://HOST[:PORT]."""
        parts = urlsplit(text.strip())
        try:
            port = parts.port
        except ValueError:
            raise BadAddress(f"{text!r} has no valid port") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise BadAddress(f"{text!r} is no ws:// or wss:// address")
        if parts.path not in ("", "/", PATH) or parts.query or parts.fragment or parts.username:
            raise BadAddress(f"{text!r} has more than scheme, host and port")
        return RelayAddress(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme])

    @staticmethod
    def of_hint(hint: RelayHint) -> RelayAddress:
        """The address that a QR code names."""
        return RelayAddress.parse(f"{hint.scheme}://{hint.authority}")

    @property
    def authority(self) -> str:
        """host, or host:port if it is not the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def uri(self) -> str:
        """What to open a websocket to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{PATH}"

    def hint(self) -> RelayHint | None:
        """The hint for a QR code; None if it does not fit in."""
        authority = self.authority
        return RelayHint(self.scheme, authority) if len(authority) <= 29 else None
