from datetime import UTC, datetime, timedelta, timezone

from httpapi.timestamps import timestamp


def test_a_time_is_written_in_utc_to_the_microsecond() -> None:
    at = datetime(2026, 6, 15, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))

    assert timestamp(at) == "2026-06-15T12:00:00.000005Z"
    assert timestamp(datetime(2026, 6, 15, tzinfo=UTC)) == "2026-06-15T00:00:00.000000Z"
