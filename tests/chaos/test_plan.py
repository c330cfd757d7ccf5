"""The chaos suite's own assumptions, and that its client notices what it is there for."""

from __future__ import annotations

import pytest

from rillgate.app.encodings import load_encoding
from tests.chaos.answers import ChatStream, MessagesStream, Wrong, error_code, whole_words
from tests.chaos.apis import ANTHROPIC, APIS, OPENAI, Api
from tests.chaos.client import Ask
from tests.chaos.faults import FAULTS
from tests.chaos.plan import Plan, plan_in, words
from tests.chaos.scenario import Scenarios


def test_words_are_one_token_each() -> None:
    """So what was delivered can be counted against what was charged, exactly."""
    encoding = load_encoding("o200k_base")
    text = "".join(words(12_345, 2_000))
    assert encoding.count(text) == text.count(" ") == 2_000


def test_plan_survives_its_own_prompt() -> None:
    """Whatever dialect carries it."""
    plan = Plan(17, 40, "rst", 0.25, 250, 1, "openai")
    for dialect in ("chat", "messages", "plain"):
        assert plan_in(Ask(plan, dialect).request({})) == plan
    assert plan_in(b"{}") is None


def test_texts_of_neighbours_differ_from_their_first_words_on() -> None:
    """Or one answer's text could pass for another's."""
    assert len({"".join(words(number, 8)) for number in range(10_000, 11_000)}) == 1_000


def test_scenarios_of_a_seed_are_the_same_and_meet_every_fault_but_one() -> None:
    """A run that failed can be had again. Huge events are met in `test_provider` alone."""
    one, other = Scenarios(3, secure=True), Scenarios(3, secure=True)
    drawn = [one.next() for _ in range(5_000)]
    assert drawn == [other.next() for _ in range(5_000)]
    assert {scenario.ask.plan.fault for scenario in drawn} == set(FAULTS) - {"huge_event"}


PLAN = Plan(10_000, 6)
WHOLE = OPENAI.stream(PLAN.pieces)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (WHOLE[:-2], "silent end"),
        ([*WHOLE[:3], *WHOLE[-2:]], "said to be whole"),
        ([*WHOLE[:3], OPENAI.word(" foreign"), *WHOLE[3:]], "another answer"),
        ([*WHOLE[:3], WHOLE[2], *WHOLE[3:]], "another answer"),
        ([*WHOLE[:3], *WHOLE[4:]], "another answer"),
        ([*WHOLE, WHOLE[2]], "after the end"),
        ([*WHOLE[:-2], WHOLE[2], *WHOLE[-2:]], "another answer"),
        ([*WHOLE[:-1], b"data: {\n\n", WHOLE[-1]], "no JSON"),
        ([*WHOLE, b"data: hal"], "half an event"),
        ([*WHOLE[:3], b"HTTP/1.1 200 OK\n\n"], "nobody wrote"),
        ([WHOLE[0], b'data: {"error":{"message":"x","type":"y","code":"internal_error"}}\n\n'], "fault of ours"),
    ],
)
def test_client_notices_what_is_wrong_with_a_stream(events: list[bytes], why: str) -> None:
    """A check that cannot fail proves nothing."""
    with pytest.raises(Wrong, match=why):
        _read(OPENAI, events)


@pytest.mark.parametrize("api", [OPENAI, ANTHROPIC])
def test_client_takes_a_stream_as_it_should_be(api: Api) -> None:
    """Cut anywhere."""
    events = api.stream(PLAN.pieces)
    _read(api, events)
    _read(api, [bytes((byte,)) for byte in b"".join(events)])


def _read(api: Api, events: list[bytes]) -> None:
    stream = MessagesStream(PLAN) if api is ANTHROPIC else ChatStream(PLAN)
    for event in events:
        stream.feed(event)
    stream.finished()
    assert stream.words == PLAN.words


def test_client_notices_what_is_wrong_with_a_whole_answer() -> None:
    """And with an error."""
    assert whole_words(False, PLAN, OPENAI.whole(PLAN.pieces, 1, 1)) == PLAN.words
    for body in (OPENAI.whole(PLAN.pieces[:-1], 1, 1), OPENAI.whole([*PLAN.pieces, " x"], 1, 1), b"{"):
        with pytest.raises(Wrong):
            whole_words(False, PLAN, body)
    body = APIS["anthropic"].error("x")
    with pytest.raises(Wrong):
        error_code(False, 500, body)
    with pytest.raises(Wrong):
        error_code(True, 502, OPENAI.error("x"))
