"""File, environment and flags, laid over each other: a tree of checked values that know where they came from.

Every value is checked where it enters, so an error can name the file, the variable or the flag that holds it. Later
sources replace values of earlier ones, key by key: file, then RILLGATE_SECTION__KEY, then flags.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from rillgate.app.settings.rules import SHOWN_CHARS_MAX, Misfit, parse_text, shown
from rillgate.app.settings.schema import SCHEMA, Each, Rows, Shape, Table

PREFIX = "RILLGATE_"
FILE_NAME = "rillgate.toml"

Key: TypeAlias = str | int
Place: TypeAlias = tuple[Key, ...]
Node: TypeAlias = "Given | dict[str, Node] | list[Node]"

# Sections without fixed keys of their own can be given whole, in one variable, as a TOML value.
_WHOLE_SECTIONS = frozenset(name for name, shape in SCHEMA.keys.items() if not isinstance(shape, Table))
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class SettingsError(Exception):
    """The configuration cannot be used. The message is one line that names source, key and remedy, never a secret."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigText(msgspec.Struct, frozen=True):
    """A configuration that is no file: its text, and its name for errors."""

    name: str
    text: str


REASON_CHARS_MAX = 200  # of what tomllib found; enough for its sentence and a name


class Origin(msgspec.Struct, frozen=True):
    """Where a value stands: a file's name, a variable's or a flag's. A higher rank replaces a lower one."""

    name: str
    rank: int


class _Spot(msgspec.Struct, frozen=True):
    """A place in one source, for the errors about what stands there."""

    origin: Origin
    path: Place = ()

    def at(self, key: Key) -> _Spot:
        return _Spot(self.origin, (*self.path, key))

    def error(self, problem: str, remedy: str) -> SettingsError:
        where = f"{self.origin.name}: {dotted(self.path)}" if self.path else self.origin.name
        return SettingsError(f"{where}: {problem}; {remedy}")


DEFAULTS = Origin("defaults", 0)
FILE_RANK, VARIABLE_RANK, FLAG_RANK = 1, 2, 3


class Given(msgspec.Struct, frozen=True):
    """A checked value and where it came from."""

    value: Any
    origin: Origin


class Tree(msgspec.Struct, frozen=True):
    """All that the sources give. A missing key is absent: defaults stand on the classes of `types`."""

    root: dict[str, Node] = msgspec.field(default_factory=dict)
    file: Path | None = None
    file_name: str = ""

    def node(self, *path: Key) -> Node | None:
        """What stands at `path`, if anything does."""
        node: Node | None = self.root
        for key in path:
            if isinstance(node, dict) and isinstance(key, str):
                node = node.get(key)
            elif isinstance(node, list) and isinstance(key, int) and key < len(node):
                node = node[key]
            else:
                return None
        return node

    def value(self, *path: Key) -> Any:
        """The value at `path`; None when nothing gives it."""
        node = self.node(*path)
        return node.value if isinstance(node, Given) else None

    def values(self, *path: Key) -> dict[str, Any]:
        """The values that stand directly in the table at `path`."""
        node = self.node(*path)
        items = node.items() if isinstance(node, dict) else ()
        return {key: inner.value for key, inner in items if isinstance(inner, Given)}

    def names(self, *path: Key) -> list[str]:
        """The keys of the table at `path`, in order."""
        node = self.node(*path)
        return list(node) if isinstance(node, dict) else []

    def count(self, *path: Key) -> int:
        """The number of rows at `path`."""
        node = self.node(*path)
        return len(node) if isinstance(node, list) else 0

    def origin(self, *path: Key) -> Origin:
        """Where the value at `path` stands; for a table, where the first value in it does."""
        return _first_origin(self.node(*path)) or (Origin(self.file_name, FILE_RANK) if self.file_name else DEFAULTS)

    def rank(self, *path: Key) -> int:
        """The rank of the value at `path`; that of the defaults when nothing gives it."""
        node = self.node(*path)
        return node.origin.rank if isinstance(node, Given) else DEFAULTS.rank

    def error(self, path: Place, problem: str, remedy: str) -> SettingsError:
        """The error for the value at `path`."""
        return _Spot(self.origin(*path), path).error(problem, remedy)


def read_sources(
    *, config: Path | ConfigText | None, flags: Mapping[str, Any], environ: Mapping[str, str], cwd: Path
) -> tuple[Tree, tuple[str, ...]]:
    """Lay file, environment and flags over each other.

    Args:
        config: the file that --config names, if it does, or the text that stands for a file.
        flags: dotted keys with typed values or texts; None counts as not given.
        environ: the environment; only what begins with RILLGATE_ is looked at.
        cwd: where relative paths of files start.
    Returns: the tree, and one line for each variable that looks like a setting and is none.
    Raises: SettingsError.
    """
    root: dict[str, Node] = {}
    path: Path | None = None
    if isinstance(config, ConfigText):
        name = config.name
        root = _planted(name, _parse_toml(config.text, name))
    else:
        path, name = _find_file(config, environ, cwd)
        if path is not None:
            root = _planted(name, _read_toml(path, name))
    notices = []
    for variable in sorted(environ, key=_natural):
        segments = variable.removeprefix(PREFIX).split("__")
        if not variable.startswith(PREFIX):
            continue
        if len(segments) > 1 or segments[0].lower() in _WHOLE_SECTIONS:
            spot = _Spot(Origin(variable, VARIABLE_RANK))
            root = _as_table(_overlay(root, SCHEMA, segments, environ[variable], spot))
        elif meant := _misspelt(segments[0]):
            notices.append(f"{variable} is not read; did you mean {meant}, with two underscores?")
    for flag, value in flags.items():
        if value is not None:
            spot = _Spot(Origin(_flag_name(flag), FLAG_RANK))
            root = _as_table(_overlay(root, SCHEMA, flag.split("."), value, spot))
    return Tree(root, path, name), tuple(notices)


def _planted(name: str, table: dict[str, Any]) -> dict[str, Node]:
    return _as_table(_plant(SCHEMA, table, _Spot(Origin(name, FILE_RANK))))


def _find_file(config: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Path | None, str]:
    """The file to read, if there is one, and its name as the user wrote it."""
    for source, named in (("--config", config), ("RILLGATE_CONFIG", environ.get("RILLGATE_CONFIG"))):
        if named is None or named == "":
            continue
        if not os.path.exists(cwd / named):
            raise SettingsError(f"{source}: {str(named)!r} does not exist; name a file that does, or leave it out")
        return cwd / named, str(named)
    usual = cwd / FILE_NAME
    return (usual, FILE_NAME) if os.path.lexists(usual) else (None, "")


def _read_toml(path: Path, name: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a byte order mark, which TOML does not know
    except OSError as error:
        raise SettingsError(f"{name}: cannot be read ({error.strerror}); name a readable file") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return _parse_toml(text, name)


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason, line = _toml_problem(error, text)
        raise SettingsError(f"{name}: line {line}: broken TOML: {reason}; correct this line") from None


def _toml_problem(error: Exception, text: str) -> tuple[str, int]:
    """What tomllib found, and the line: it says both in one sentence, "… (at line 3, column 5)"."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    if match is None:  # a number of thousands of digits, or brackets nested a thousand deep
        return "a value that cannot be read", 1
    last = len(text.rstrip().splitlines()) or 1
    reason = match[1][:1].lower() + match[1][1:REASON_CHARS_MAX]  # it repeats names, however long they are
    return (reason, int(match[2])) if match[2] else (f"{reason} at its end", last)


def _plant(shape: Shape, value: object, spot: _Spot) -> Node:
    """`value`, checked against `shape`, with its origin at every leaf."""
    if isinstance(shape, Table | Each):
        if not isinstance(value, dict):
            raise spot.error(f"expected a table, got {_type_name(value)}", _how_to_write(spot.path))
        return {key: _plant(_below(shape, key, spot), inner, spot.at(key)) for key, inner in value.items()}
    if isinstance(shape, Rows):
        if not isinstance(value, list):
            raise spot.error(f"expected an array of tables, got {_type_name(value)}", _how_to_write((0,)))
        return [_plant(shape.row, row, spot.at(index)) for index, row in enumerate(value)]
    try:
        return Given(shape.take(value), spot.origin)
    except Misfit as misfit:
        raise spot.error(misfit.problem, misfit.remedy) from None


def _overlay(node: Node | None, shape: Shape, segments: Sequence[str], value: object, spot: _Spot) -> Node:
    """`node` with `value` in the place that `segments` names, as a variable or a flag spells it."""
    if not segments:
        return _read(shape, value, spot)
    head, rest = segments[0], segments[1:]
    if isinstance(shape, Table | Each):
        branch = _as_table(node)
        key = head.lower() if isinstance(shape, Table) else _chosen_name(shape, branch, head, spot)
        branch[key] = _overlay(branch.get(key), _below(shape, key, spot), rest, value, spot.at(key))
        return branch
    if isinstance(shape, Rows):
        rows = list(node) if isinstance(node, list) else []
        index = int(head) if _is_index(head) else -1
        if not 0 <= index <= len(rows):
            raise spot.error(f"there is no row {shown(head)}", f"give a number up to {len(rows)}, which adds a row")
        old = rows[index] if index < len(rows) else None
        rows[index : index + 1] = [_overlay(old, shape.row, rest, value, spot.at(index))]
        return rows
    raise spot.error(f"a value has no key {shown('__'.join(segments))}", "take that part of the name out")


def _read(shape: Shape, value: object, spot: _Spot) -> Node:
    """Check a whole variable or flag; text stands for the TOML value that it spells."""
    if not isinstance(value, str):
        return _plant(shape, value, spot)
    if isinstance(shape, Table | Each | Rows):
        return _plant(shape, parse_text(value), spot)
    try:
        return Given(shape.read(value), spot.origin)
    except Misfit as misfit:
        raise spot.error(misfit.problem, misfit.remedy) from None


def _below(shape: Table | Each, key: str, spot: _Spot) -> Shape:
    """The shape of `key`, or the error that it is none."""
    if isinstance(shape, Each):
        try:
            shape.check_name(key)
        except Misfit as misfit:
            raise spot.at(key).error(misfit.problem, misfit.remedy) from None
        return shape.inner
    if key in shape.keys:
        return shape.keys[key]
    raise spot.at(key).error("unknown key" if spot.path else "unknown section", _suggestion(key, shape.keys))


def _suggestion(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key.lower(), list(known), n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    homes = [name for name, shape in SCHEMA.keys.items() if isinstance(shape, Table) and key in shape.keys]
    if homes:
        return f"it belongs under [{homes[0]}]"
    return f"there are {', '.join(sorted(known))}"


def _chosen_name(shape: Each, branch: Mapping[str, Node], head: str, spot: _Spot) -> str:
    """The name that a variable's segment means: one that is there already, else a new one."""
    if head in branch:
        return head
    matches = [name for name in branch if _as_segment(name) == _as_segment(head)]
    if len(matches) > 1:
        names = " and ".join(repr(name) for name in matches)
        raise spot.error(f"{shown(head)} may mean {names}", "set it in the file, or rename one")
    return matches[0] if matches else shape.new_name(head)


def _as_segment(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _misspelt(segment: str) -> str | None:
    """The variable that was meant, where a section and its key are joined by one underscore only."""
    for section, shape in SCHEMA.keys.items():
        head, key = segment[: len(section)].lower(), segment[len(section) + 1 :].lower()
        if isinstance(shape, Table) and head == section and key in shape.keys:
            return f"{PREFIX}{section.upper()}__{key.upper()}"
    return None


def _natural(variable: str) -> list[tuple[int, str]]:
    """Sort key under which ROUTES__2 comes before ROUTES__10."""
    return [(int(part), "") if _is_index(part) else (-1, part) for part in variable.split("__")]


def _is_index(segment: str) -> bool:
    return segment.isdecimal() and len(segment) < 6


def _flag_name(flag: str) -> str:
    return f"--{flag.rsplit('.', 1)[-1].replace('_', '-')}"


def _as_table(node: Node | None) -> dict[str, Node]:
    return dict(node) if isinstance(node, dict) else {}


def _first_origin(node: Node | None) -> Origin | None:
    if isinstance(node, Given):
        return node.origin
    inner = node.values() if isinstance(node, dict) else node or []
    return next((origin for item in inner if (origin := _first_origin(item))), None)


def _type_name(value: object) -> str:
    """What a value is, without the value: tables may hold credentials."""
    names = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or a time")


def _how_to_write(path: Place) -> str:
    if any(isinstance(key, int) for key in path):
        return "write it as [[routes]]"
    return f"write it as [{dotted(path)}]"


def dotted(path: Place) -> str:
    """A path as an error names it.

    Shape: ('prices', 'lab/*', 'input') → 'prices."lab/*".input'; ('routes', 0, 'model') → 'routes[0].model'
    """
    parts = []
    for key in path:
        if isinstance(key, int):
            parts.append(f"[{key}]")
        else:
            bare = _BARE_KEY.fullmatch(key) and len(key) <= SHOWN_CHARS_MAX
            name = key if bare else shown(key).replace("'", '"')
            parts.append(f".{name}" if parts else name)
    return "".join(parts)
