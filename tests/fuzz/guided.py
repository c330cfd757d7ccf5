"""One target under atheris, guided by the code that its inputs reach; `__main__` starts it. libFuzzer's flags follow
the target's name."""

from __future__ import annotations

import random
import sys
import zlib

import atheris

with atheris.instrument_imports(include=["rillgate", "lambda_asgi"]):
    from tests.fuzz.engine import known
    from tests.fuzz.mutate import mutated
    from tests.fuzz.registry import targets
from tests.fuzz.target import check


def main() -> None:
    """Does not return."""
    target = targets()[sys.argv.pop(1)]
    seeds = [*known(target), *target.seeds()]

    def one(data: bytes) -> None:
        check(target, data, random.Random(zlib.crc32(data)))

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:  # libFuzzer's own, which know what the code compares with
            changed: bytes = atheris.Mutate(data, size_max)
            return changed
        return mutated(data, target.shape, seeds, rng)[:size_max]

    atheris.Setup(sys.argv, one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
