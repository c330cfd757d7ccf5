"""Does an answer stream, or does something on the way keep it back? Judged by when its pieces arrive.

A buffer on the way shows in one of two ways: all pieces come together at the end, or in bursts. A provider that is
quick, or that thinks for long and then writes at once, can look the same; where that may be, the finding says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rillgate.cli.checkup.finding import Finding

CHECK = "pacing"
TOGETHER_S = 0.002  # pieces that arrive so close to each other came in one burst
PIECES_MIN = 8  # fewer say nothing
TOTAL_S_MIN = 0.15  # nor does an answer that is over so soon
SPAN_SHARE_MAX = 0.05  # of the whole time: an answer of which all comes in this last share was kept back
PIECES_PER_BURST_MAX = 8
_ADVICE = (
    "Something between here and the gateway buffers: a proxy without `proxy_buffering off`, compression, or a Function "
    "URL whose InvokeMode is not RESPONSE_STREAM. A model that thinks for long and then writes quickly looks the same: "
    "try another --model."
)


@dataclass(frozen=True, slots=True)
class Pacing:
    """When the pieces of one answer came; seconds since its request went out.

    Attributes:
        headers_s: the status line.
        arrivals_s: each piece with content, in order; at least one.
        capped: whether it was ended by its cap; it was over by itself otherwise.
    """

    headers_s: float
    arrivals_s: Sequence[float]
    capped: bool = False

    @property
    def first_s(self) -> float:
        """The first piece."""
        return self.arrivals_s[0]

    @property
    def total_s(self) -> float:
        """The last one."""
        return self.arrivals_s[-1]

    @property
    def gaps_s(self) -> list[float]:
        """Between each two."""
        return [later - earlier for earlier, later in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]

    @property
    def bursts(self) -> int:
        """How many times something came."""
        return 1 + sum(gap > TOGETHER_S for gap in self.gaps_s)

    def measured(self) -> dict[str, float]:
        """For the report."""
        gaps = sorted(self.gaps_s) or [0.0]
        return {
            "headers_ms": _ms(self.headers_s),
            "first_piece_ms": _ms(self.first_s),
            "total_ms": _ms(self.total_s),
            "pieces": len(self.arrivals_s),
            "bursts": self.bursts,
            "gap_median_ms": _ms(median(gaps)),
            "gap_p95_ms": _ms(gaps[int(0.95 * (len(gaps) - 1))]),
            "gap_max_ms": _ms(gaps[-1]),
        }


def first_byte(pacing: Pacing) -> Finding:
    """How long one waits. No verdict: most of it is the model's, and a cold start's."""
    text = f"headers after {_ms(pacing.headers_s)} ms, the first piece after {_ms(pacing.first_s)} ms"
    return Finding("first byte", "ok", text, {"headers_ms": _ms(pacing.headers_s), "first_ms": _ms(pacing.first_s)})


def judge(pacing: Pacing) -> Finding:
    """The verdict."""
    measured = pacing.measured()
    pieces, bursts = len(pacing.arrivals_s), pacing.bursts
    if pieces < PIECES_MIN:
        return Finding(CHECK, "note", f"only {pieces} pieces came, too few to judge", measured)
    span_s = pacing.total_s - pacing.first_s
    if pacing.total_s < TOTAL_S_MIN:
        text = f"{pieces} pieces within {measured['total_ms']} ms: too quick to see whether anything buffers"
        return Finding(CHECK, "note", text, measured)
    if bursts == 1 or span_s < SPAN_SHARE_MAX * pacing.total_s:
        text = f"all {pieces} pieces came within {_ms(span_s)} ms, after {_ms(pacing.first_s)} ms of nothing. {_ADVICE}"
        return Finding(CHECK, "bad", text, measured)
    if pieces / bursts >= PIECES_PER_BURST_MAX:
        text = f"{pieces} pieces came in {bursts} bursts. {_ADVICE}"
        return Finding(CHECK, "note", text, measured)
    text = (
        f"{pieces} pieces, one each {measured['gap_median_ms']} ms "
        f"(95 %: {measured['gap_p95_ms']}, longest: {measured['gap_max_ms']})"
    )
    return Finding(CHECK, "ok", text, measured)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
