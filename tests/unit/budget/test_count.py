"""The live count: the same as counting the whole text, whatever the chunks, and only when it could matter."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillgate.app.encodings import load_encoding
from rillgate.budget.count import (
    BLOCK_CHARS,
    ENDLESS_CHARS,
    TAIL_CHARS,
    WAITING_BYTES_MAX,
    LiveCount,
    encoding_for_model,
)
from rillgate.domain.ports import Encoding

PROSE = (
    "Small streams run down from every hill, and it's the gate that decides how much of them we'll get. They've said "
    "so since 1862; nobody'd argue… “Fine,” the miller said — then he closed it, e.g. for the 3.141592653589793rd "
    "time. DON'T ask HIM why: HE'LL only tell you THAT'S how it's done (see https://example.test/a_b/c?d=e&f=%20).\n\n"
)
CODE = Path(__file__).read_text("utf-8")
CJK = "河水从山上流下来。闸门决定放多少水，放给谁。むかし、小さな川がありました！작은 시내가 흐른다。ABC中文DEF和GHI"
EMOJI = "👩‍👩‍👧‍👦🏳️‍🌈 ok 👍🏽👍🏽 é e\u0301 ａｂｃ ｶﾞ 🇩🇪🇫🇷 ㊗️"
SPACES = " \n  \n\n   x\t\t\ty \r\n\r\n  z    \u3000\u00a0 \n \t   "
SAMPLES = {
    "prose": PROSE,
    "code": CODE[:3000],
    "cjk": CJK,
    "emoji": EMOJI,
    "spaces": SPACES,
    "digits": "0123456789" * 9,
}

# What the pre-tokenizers treat in special ways, most of all where they look ahead.
PARTS = [
    *("a", "B", "the", "ing", " and", "D", "EF", "中", "文", "ǅ", "ʰ", "é", "\u0301", "ſ", "İ", "ß", "กา", "한"),
    *(
        "'",
        "'s",
        "'S",
        "'l",
        "'ll",
        "l",
        "'re",
        "’s",
        "1",
        "12",
        "1234",
        ".",
        "...",
        "/",
        "//",
        "!",
        "_",
        "--",
        "{}",
        '"',
    ),
    *(" ", "  ", "     ", "\n", "\n\n", "\r\n", "\r", "\t", "\u3000", "\xa0", "\u2028", "\x85", "\x0b"),
    *("😀", "\u200d", "\ufe0f"),
]
assigned = st.characters(exclude_categories=("Cs", "Cn"))  # of new characters the two pattern engines may think apart
texts = st.lists(st.sampled_from(PARTS) | assigned, max_size=250).map("".join) | st.text(assigned, max_size=250)
sizes = st.lists(st.sampled_from([1, 2, 3, 5, 40, 300]), min_size=1, max_size=8)


@pytest.fixture(scope="module", params=["o200k_base", "cl100k_base"])
def encoding(request: pytest.FixtureRequest) -> Encoding:
    """Each of the real encodings."""
    return load_encoding(request.param)


class Watched:
    """An encoding that keeps what it is asked to work on."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self.asked: list[int] = []

    @property
    def name(self) -> str:
        """The name of the encoding behind it."""
        return self._encoding.name

    def count(self, text: str) -> int:
        """The encoding's count."""
        self.asked.append(len(text))
        return self._encoding.count(text)

    def pieces(self, text: str) -> list[str]:
        """The encoding's pieces."""
        self.asked.append(len(text))
        return self._encoding.pieces(text)


def cut(text: str, sizes: list[int]) -> list[str]:
    """The text in chunks of these sizes, over and over."""
    chunks: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(text[at : at + size])
        at += size
    return chunks


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("size", [1, 3, 7, 40, TAIL_CHARS + 1, BLOCK_CHARS, 10**6])
@pytest.mark.parametrize("asked", ["at the end", "at every chunk"])
def test_count_of_a_sample_in_any_chunks_is_the_count_of_the_whole(
    encoding: Encoding, sample: str, size: int, asked: str
) -> None:
    """Prose, code, CJK, emoji and white space, repeated past every bound but one: no token more or less."""
    times = 2 + 9000 // len(SAMPLES[sample]) if asked == "at the end" else 2
    text = SAMPLES[sample] * times if sample != "spaces" else (SAMPLES[sample] + "x") * times
    live = LiveCount(encoding)
    for chunk in cut(text, [size]):
        live.add(chunk)
        if asked == "at every chunk":
            live.tokens()
    assert live.tokens() == encoding.count(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("foo'", "s bar"),
        ("foo'l", "l bar"),
        ("foo'L", "a bar"),
        ("foo'", "'s"),
        ("foo", "'s"),
        ("中DEF", "g bar"),
        ("A中D", "中g"),
        ("中DEF'", "s"),
        ("FOO", "bar"),
        ("   ", "x"),
        ("  ", "  x"),
        ("\n  ", "\n  x"),
        (" \n \n ", "\t\r\n"),
        ("x\n\n   y z", " w"),
        ("x\n\n   y. z", " w"),
        ("x \n  \n   ", "y"),
        ("x\r", "\n"),
        ("12", "345"),
        ("!\n", "/\n//"),
        (" .", "a"),
        (" ", "."),
        ("e", "\u0301's"),
    ],
)
@pytest.mark.parametrize("rest", ["", " and so on", "\n\n  ", "'s"])
def test_count_cut_inside_what_the_pretokenizer_looks_ahead_for_is_exact(
    encoding: Encoding, before: str, after: str, rest: str
) -> None:
    """Counted just where the last pieces are not what they will be: they were not settled yet."""
    for filler in ("", "a b c d " * 20, "1 2 3 4 " * 20 + "\n", "中。" * 50, "x" * (ENDLESS_CHARS - 20)):
        live = LiveCount(encoding)
        for chunk in (filler + before, after, rest):
            live.add(chunk)
            live.tokens()
        assert live.tokens() == encoding.count(filler + before + after + rest), filler


@given(texts, sizes)
def test_count_of_any_text_in_any_chunks_is_exact_at_every_chunk(
    encoding: Encoding, text: str, sizes: list[int]
) -> None:
    """After each chunk the count is that of all the text so far, as if it were counted at once."""
    live = LiveCount(encoding)
    for so_far, chunk in zip(accumulate(cut(text, sizes)), cut(text, sizes), strict=True):
        live.add(chunk)
        assert live.tokens() == encoding.count(so_far)


@pytest.mark.parametrize("in_one", [False, True])
@given(texts, sizes, st.integers(0, 120))
def test_passes_is_true_exactly_when_there_are_more_tokens_than_the_limit(
    encoding: Encoding, in_one: bool, text: str, sizes: list[int], limit: int
) -> None:
    """The answer that is mostly given without counting is the one that counting gives, and the bound is one."""
    live = LiveCount(encoding)
    for so_far, chunk in zip(accumulate(cut(text, sizes)), cut(text, sizes), strict=True):
        tokens = encoding.count(so_far)
        if in_one:
            assert live.brings_past(chunk, limit) is (tokens > limit)
        else:
            live.add(chunk)
            assert live.upper_bound() >= tokens
            assert live.passes(limit) is (tokens > limit)
        assert live.upper_bound() >= tokens
    assert live.tokens() == encoding.count(text)


def test_passes_far_from_the_limit_counts_nothing(encoding: Encoding) -> None:
    """As long as its bytes cannot pass the limit, text is not counted at all."""
    watched = Watched(encoding)
    live = LiveCount(watched)
    for chunk in cut(PROSE * 5, [4]):
        assert not live.brings_past(chunk, WAITING_BYTES_MAX)
    assert watched.asked == []


def test_passes_on_the_way_to_a_limit_counts_a_few_times(encoding: Encoding) -> None:
    """A stream of hundreds of chunks is counted some dozens of times, and little text at a time."""
    watched = Watched(encoding)
    live = LiveCount(watched)
    chunks = 0
    for chunk in cut(PROSE * 20, [4]):
        chunks += 1
        if live.brings_past(chunk, 512):
            break
    assert chunks > 400
    assert len(watched.asked) < 100
    assert sum(watched.asked) < 6 * 4 * chunks


def test_waiting_text_is_bounded_and_folded_in_before_the_limit_is_near(encoding: Encoding) -> None:
    """With a limit far away, text is still counted by the few KiB, so that no count is ever a long one."""
    watched = Watched(encoding)
    live = LiveCount(watched)
    for chunk in cut(PROSE * 100, [6]):
        assert not live.brings_past(chunk, 10**9)
    assert max(watched.asked) <= BLOCK_CHARS
    assert sum(watched.asked) > len(PROSE * 100) - WAITING_BYTES_MAX
    before = len(watched.asked)
    live.tokens()
    assert sum(watched.asked[before:]) <= 3 * (WAITING_BYTES_MAX + BLOCK_CHARS)


@pytest.mark.parametrize("endless", ["a", "=", " ", "中", "👍", "aB", "中A"])
@pytest.mark.parametrize("size", [1, 10, 50_000])
def test_endless_piece_is_counted_in_linear_work(encoding: Encoding, endless: str, size: int) -> None:
    """A text that the pre-tokenizer does not cut costs bounded work for each chunk, and is counted nearly right."""
    text = endless * (20_000 // len(endless))
    watched = Watched(encoding)
    live = LiveCount(watched)
    for chunk in cut(text, [size]):
        live.add(chunk)
        live.passes(10**9)
    tokens = live.tokens()
    assert encoding.count(text) - 1 <= tokens <= encoding.count(text) + 2 * len(text) / ENDLESS_CHARS + 1
    assert max(watched.asked) <= BLOCK_CHARS
    assert sum(watched.asked) <= 8 * len(text)


def test_endless_piece_at_its_limit_is_counted_in_bounded_bits(encoding: Encoding) -> None:
    """Where each chunk must be counted, what is counted again is short, even in one endless piece."""
    watched = Watched(encoding)
    live = LiveCount(watched)
    for chunk in cut("a" * 6000, [8]):
        live.add(chunk)
        live.passes(300)
    assert max(watched.asked) <= ENDLESS_CHARS + 8


def test_huge_chunk_past_the_limit_is_counted_no_further_than_needed(encoding: Encoding) -> None:
    """A provider that sends a great deal at once is found past its limit after some blocks."""
    watched = Watched(encoding)
    live = LiveCount(watched)
    live.add(PROSE * 500)
    assert live.passes(100)
    assert sum(watched.asked) <= 3 * BLOCK_CHARS
    assert live.passes(100)
    assert live.tokens() == encoding.count(PROSE * 500)


def test_count_without_an_encoding_takes_bytes_until_there_is_one(encoding: Encoding) -> None:
    """Until the encoder is loaded bytes stand in, and the count is no exact one; then it is, of all the text."""
    live = LiveCount(None, exact=True)
    for chunk in cut(CJK, [5]):
        live.add(chunk)
    size = len(CJK.encode())
    assert live.tokens() == live.upper_bound() == size
    assert not live.passes(size)
    assert live.passes(size - 1)
    exact_before = live.exact
    live.use(encoding)
    assert (exact_before, live.exact) == (False, True)
    assert live.tokens() == encoding.count(CJK)
    live.add(PROSE)
    assert live.tokens() == encoding.count(CJK + PROSE)


def test_count_keeps_the_encoding_it_has() -> None:
    """A second `use` changes nothing: tokens of two encodings do not add up."""
    live = LiveCount(load_encoding("o200k_base"))
    live.use(load_encoding("cl100k_base"))
    live.add(CJK)
    assert live.tokens() == load_encoding("o200k_base").count(CJK)


def test_count_with_another_models_encoding_is_no_exact_one(encoding: Encoding) -> None:
    """Whether the encoding is the model's own is the caller's to know, and is kept."""
    assert not LiveCount(encoding, exact=False).exact
    assert LiveCount(encoding, exact=True).exact


def test_count_of_nothing_is_nothing(encoding: Encoding) -> None:
    """No text, no tokens; zero tokens do not pass a limit of zero, one does."""
    live = LiveCount(encoding)
    live.add("")
    assert live.tokens() == live.upper_bound() == 0
    assert not live.passes(0)
    live.add("a")
    assert live.passes(0)


@given(st.text(st.characters(categories=("Cs", "Cn", "L", "Z")), max_size=100), sizes, st.integers(0, 50))
def test_count_of_surrogates_and_unknown_characters_raises_nothing(
    encoding: Encoding, text: str, sizes: list[int], limit: int
) -> None:
    """JSON can spell half a character, and new characters come every year: they are counted within their bound."""
    live = LiveCount(encoding)
    for chunk in cut(text, sizes):
        live.add(chunk)
        live.passes(limit)
    assert 0 <= live.tokens() <= len(text.encode("utf-8", "surrogatepass"))


def test_count_of_long_random_text_is_exact(encoding: Encoding) -> None:
    """Tens of thousands of characters of all kinds, over block borders, in chunks of all sizes."""
    random = Random(20)
    text = "".join(random.choice([*PARTS, *PROSE.split(" ")]) for _ in range(12_000))
    live = LiveCount(encoding)
    for chunk in cut(text, [random.choice([1, 4, 30, 700, 9000]) for _ in range(50)]):
        live.add(chunk)
        live.passes(10**9)
    assert live.tokens() == encoding.count(text)


@pytest.mark.parametrize("seed", range(5))
def test_count_of_long_prose_is_exact_at_every_block(encoding: Encoding, seed: int) -> None:
    """Where only the end of a block is cut into pieces, it begins where a piece surely does."""
    random = Random(seed)
    ends = [" ", " ", " ", ", ", ". ", "  ", "\n", " \n", "'s ", " (", "-", " 12 ", "\t ", "\u00a0", " é", " ß"]
    words = [*PROSE.split(), "Ünder", "IDs", "x", "東京", "naïve"]
    text = "".join(random.choice(words) + random.choice(ends) for _ in range(6_000))
    live, fed = LiveCount(encoding), ""
    for chunk in cut(text, [random.choice([3, 6, 900, 4096, 5000]) for _ in range(40)]):
        fed += chunk
        live.add(chunk)
        live.passes(10**9)
        if len(chunk) > 800:
            assert live.tokens() == encoding.count(fed)
    assert live.tokens() == encoding.count(text)


@pytest.mark.parametrize(
    ("model", "encoding_name", "exact"),
    [
        ("gpt-4o", "o200k_base", True),
        ("gpt-4o-mini-2024-07-18", "o200k_base", True),
        ("gpt-4.1-nano", "o200k_base", True),
        ("gpt-5.2-codex", "o200k_base", True),
        ("o3", "o200k_base", True),
        ("ft:gpt-4o:org::id", "o200k_base", True),
        ("gpt-oss-20b", "o200k_base", True),
        ("openai/gpt-oss-120b", "o200k_base", True),
        ("gpt-4", "cl100k_base", True),
        ("gpt-3.5-turbo-0125", "cl100k_base", True),
        ("openrouter/openai/gpt-4-turbo", "cl100k_base", True),
        ("gpt-6", "o200k_base", False),
        ("gpt-6-mini", "o200k_base", False),
        ("gpt-oss", "o200k_base", False),
        ("text-davinci-003", "o200k_base", False),
        ("gpt2", "o200k_base", False),
        ("davinci", "o200k_base", False),
        ("smollm2-135m", "o200k_base", False),
        ("meta-llama/Llama-3.1-8B", "o200k_base", False),
        ("claude-opus-4-1", "o200k_base", False),
        ("gpt-4o/", "o200k_base", False),
        ("", "o200k_base", False),
    ],
)
def test_encoding_for_model_is_exact_only_for_models_that_use_it(model: str, encoding_name: str, exact: bool) -> None:
    """Names that tiktoken knows are exact, with or without a provider before them; all others are estimates."""
    assert encoding_for_model(model) == (encoding_name, exact)
