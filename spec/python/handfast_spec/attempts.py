"""How often T may offer (protocol.md, "Timers and attempts")."""

from __future__ import annotations

BURNS = ("wrong_code", "wrong_check_code", "peer_misbehaved", "wrong_offer", "version")
REPLACED = (*BURNS, "expired", "crowded", "peer_lost", "peer_cancelled", "relay_forgot")
BURNS_ALLOWED = 5
BURN_WINDOW = 900.0
BURN_WAIT = 60.0


def recent(burned: list[float], now: float) -> list[float]:
    """Those that still count. One from the future (the clock was set back) counts as now."""
    return sorted(min(time, now) for time in burned if time > now - BURN_WINDOW)


def seconds_to_wait(burned: list[float], now: float) -> float:
    """After five burned offers within 15 minutes: until 60 s after the last one."""
    times = recent(burned, now)
    return max(0.0, times[-1] + BURN_WAIT - now) if len(times) >= BURNS_ALLOWED else 0.0
