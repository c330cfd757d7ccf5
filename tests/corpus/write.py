"""Writes what becomes of a case's stream into its folder, to be read through before it is kept.

    python -m tests.corpus.write openai/crlf anthropic/…        # all of them without a name

`request.json` and the stream must be there. What was right before and is now different shows in the diff.
"""

from __future__ import annotations

import json
import sys

from tests.corpus.test_corpus import CASES, DIALECTS, HERE, delivered, known, meaning, provider_of, upstream


def write(case: str) -> None:
    """`deltas.json`, a frame on each line, and the bytes of each dialect."""
    stream = upstream(case)
    frames = [json.dumps(known(said), ensure_ascii=False) for said in meaning(provider_of(case), [stream])]
    deltas = HERE / case / "deltas.json"
    written = "[\n  " + ",\n  ".join(frames) + "\n]\n"
    if not deltas.exists() or known(json.loads(deltas.read_text(encoding="utf-8"))) != json.loads(written):
        deltas.write_text(written, encoding="utf-8")
    for dialect in DIALECTS:
        (HERE / case / f"client.{dialect}.sse").write_bytes(delivered(case, dialect, [stream]))


if __name__ == "__main__":
    for named in sys.argv[1:] or CASES:
        write(named)
