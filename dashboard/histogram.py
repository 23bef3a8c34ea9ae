"""Times as histograms that can be added up: each bucket is 5 % wider than the one before.

So p50 and p95 of an hour can be had from the counts of its parts, and are right within 2.5 %.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

_WIDTH = 1.05
_SHORTEST = 0.001  # milliseconds

# CASE, since PostgreSQL's `greatest` ignores a null.
BUCKET_SQL = f"""
    CASE WHEN took IS NOT NULL THEN
        floor(ln(greatest(date_part('epoch', took) * 1000, {_SHORTEST})) / {math.log(_WIDTH)!r}::float8)::integer
    END"""
"""The bucket of the interval `took`; null if that is null."""

type Histogram = Counter[int]


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The time in milliseconds that this share of the times does not exceed; None when there are no times."""
    total = sum(histogram.values())
    if not total:
        return None
    reached = accumulate(histogram[bucket] for bucket in sorted(histogram))
    bucket = sorted(histogram)[bisect_left(list(reached), share * total)]
    return float(_WIDTH ** (bucket + 0.5))
