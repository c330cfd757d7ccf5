"""Keys as they were at most ten seconds ago, so that a request asks the store for its key only now and then.

An age counts from the moment the store was asked, so that a revocation is seen no later than that much after it was
written. Key ids that no key has are remembered too, apart from the others: whoever makes up key ids pushes out only
what others made up. Whoever asks for a key id that is being looked up waits for the same answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial

import msgspec

from rillgate.domain.errors import BudgetUnavailable
from rillgate.domain.ports import Clock, KeyVault
from rillgate.domain.principal import VirtualKey

AGE_S_MAX = 10.0
SIZE_MAX = 10_000  # keys, and as many unknown key ids; about 1 KiB each
RECENT_S = 1.0  # age of an answer by which a secret may be called wrong
STALE_S = 1.0  # that an old entry serves before a store that did not answer is asked again


class _Seen(msgspec.Struct):
    """One answer of the vault.

    Attributes:
        asked: when it was asked for, in monotonic seconds.
        excused_until: until when it is taken in spite of its age, since the vault does not answer.
    """

    key: VirtualKey | None
    asked: float
    excused_until: float = 0.0


class KeyCache:
    """Keys of a vault, remembered for a while.

    Args:
        vault: where keys are read.
        clock: time.
        age_s_max: seconds that an answer is taken as it is.
        size_max: how many keys are remembered, and how many unknown key ids; the least recently asked for go first.
        stale_ok: while the vault does not answer, go on with a key that was known, however old the answer. What was
            unknown is not refused on old news: it may have been made since.
    """

    def __init__(
        self,
        vault: KeyVault,
        clock: Clock,
        *,
        age_s_max: float = AGE_S_MAX,
        size_max: int = SIZE_MAX,
        stale_ok: bool = False,
    ) -> None:
        self._vault = vault
        self._clock = clock
        self._age_s_max = age_s_max
        self._size_max = size_max
        self._stale_ok = stale_ok
        self._known: OrderedDict[str, _Seen] = OrderedDict()
        self._unknown: OrderedDict[str, _Seen] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[VirtualKey | None]] = {}

    @property
    def size(self) -> int:
        """How many key ids are remembered, known and unknown."""
        return len(self._known) + len(self._unknown)

    async def key(self, key_id: str) -> VirtualKey | None:
        """A virtual key as it was at most `age_s_max` ago; None for none.

        Raises:
            BudgetUnavailable: the vault did not answer, and nothing older may be used.
        """
        seen = self._recall(key_id)
        now = self._clock.now()
        if seen is not None and (now < seen.asked + self._age_s_max or now < seen.excused_until):
            return seen.key
        try:
            return await self._shared_lookup(key_id)
        except BudgetUnavailable:
            if not self._stale_ok or seen is None or seen.key is None:
                raise
            seen.excused_until = self._clock.now() + STALE_S
            return seen.key

    async def recent_key(self, key_id: str) -> VirtualKey | None:
        """A virtual key as it was at most a second ago: for who presents a secret that the remembered key does not
        have, since the key may have been rotated. The second keeps guessers from the store.

        Raises:
            BudgetUnavailable: the vault did not answer.
        """
        seen = self._recall(key_id)
        if seen is not None and self._clock.now() < seen.asked + RECENT_S:
            return seen.key
        return await self._shared_lookup(key_id)

    async def aclose(self) -> None:
        """End lookups that are under way, and wait until they have ended."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        if lookups:
            await asyncio.wait(lookups)

    async def _shared_lookup(self, key_id: str) -> VirtualKey | None:
        lookup = self._lookups.get(key_id)
        if lookup is None:
            lookup = self._lookups[key_id] = asyncio.ensure_future(self._look_up(key_id))
            lookup.add_done_callback(partial(self._ended, key_id))
        # A task of its own and shielded: whoever asked first may leave, and the others still get their answer.
        return await asyncio.shield(lookup)

    async def _look_up(self, key_id: str) -> VirtualKey | None:
        asked = self._clock.now()
        key = await self._vault.key(key_id)
        self._remember(key_id, _Seen(key, asked))
        return key

    def _ended(self, key_id: str, lookup: asyncio.Task[VirtualKey | None]) -> None:
        del self._lookups[key_id]
        if not lookup.cancelled():
            lookup.exception()  # looked at, or asyncio would report one that nobody waits for any more

    def _recall(self, key_id: str) -> _Seen | None:
        for entries in (self._known, self._unknown):
            if key_id in entries:
                entries.move_to_end(key_id)
                return entries[key_id]
        return None

    def _remember(self, key_id: str, seen: _Seen) -> None:
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        entries = self._unknown if seen.key is None else self._known
        entries[key_id] = seen
        if len(entries) > self._size_max:
            entries.popitem(last=False)
