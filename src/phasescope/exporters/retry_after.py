"""The time for which a server sends a client away."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0
"""The limit of that time, whatever a server says."""


def seconds_of(retry_after: str | None, now_s: float) -> float:
    """Return the time that a `Retry-After` names, as a number of seconds or as a date; 0 if it names none."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_S)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return min(max(0.0, date.timestamp() - now_s), LONGEST_S)
