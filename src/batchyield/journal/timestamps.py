"""Times of the journal: microseconds since 1970 in UTC as integers, and the forms in which people write them."""

from datetime import UTC, datetime, timedelta

from batchyield.errors import ConfigError

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def parse_time(text: str, now: datetime | None = None) -> int:
    """Parse a duration before now (`7d`, `12h`, `30m`), a date or an ISO 8601 time (UTC where no zone is given).

    Args:
        text: the time as a user wrote it.
        now: the time that durations are subtracted from; None: the current time.

    Returns:
        Microseconds since 1970, UTC.

    Raises:
        ConfigError: the text has none of these forms.
    """
    unit = _UNITS.get(text[-1:])
    try:
        if unit and text[:-1].isdecimal():
            time = (now or datetime.now(UTC)) - timedelta(**{unit: int(text[:-1])})
        else:
            time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        remedy = "write 7d, 12h or 30m (before now), 2026-11-01, or an ISO 8601 time"
        raise ConfigError(f"invalid time '{text}'", remedy) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return round(time.timestamp() * 1e6)


def format_time(at_us: int) -> str:
    """Return microseconds since 1970 as an ISO 8601 time in UTC with all six decimals."""
    seconds, micros = divmod(at_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros).isoformat(timespec="microseconds")
