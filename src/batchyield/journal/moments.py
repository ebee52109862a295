"""Times of the journal, microseconds since 1970 in UTC, as people give and read them."""

from datetime import UTC, datetime, timedelta

from batchyield.errors import SetupError


def moment(given: str, now: datetime | None = None) -> int:
    """A time as people give it, `7d`, `12h`, `30m` ago, `2026-11-01` or `2026-11-01T06:00:00+08:00`, in microseconds.

    Raises:
        SetupError: it is none of these.
    """
    unit = {"d": "days", "h": "hours", "m": "minutes"}.get(given[-1:])
    try:
        if unit and given[:-1].isdecimal():
            then = (now or datetime.now(UTC)) - timedelta(**{unit: int(given[:-1])})
        else:
            then = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        remedy = "write 7d, 12h or 30m (ago), 2026-11-01, or a time of ISO 8601"
        raise SetupError(f"'{given}' is no time", remedy) from None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return round(then.timestamp() * 1e6)


def instant(at: int) -> str:
    """Microseconds since 1970 as ISO 8601, UTC."""
    seconds, micros = divmod(at, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros).isoformat(timespec="microseconds")
