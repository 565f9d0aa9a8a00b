"""How often T may offer (protocol.md, "Timers and attempts")."""

from __future__ import annotations

BURNS = ("wrong_code", "wrong_check_code", "peer_misbehaved", "version")
REPLACED = (*BURNS, "expired", "crowded", "peer_lost", "peer_cancelled", "relay_forgot")
BURNS_ALLOWED = 5
BURN_WINDOW = 900.0
BURN_WAIT = 60.0


def recent(burned: list[float], now: float) -> list[float]:
    """Those that still count. One from the future (the clock was set back) does not."""
    return sorted(time for time in burned if now - BURN_WINDOW < time <= now)


def seconds_to_wait(burned: list[float], now: float) -> float:
    """After five burned offers within 15 minutes: until 60 s after the last one."""
    times = recent(burned, now)
    return max(0.0, times[-1] + BURN_WAIT - now) if len(times) >= BURNS_ALLOWED else 0.0
