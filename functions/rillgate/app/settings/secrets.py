"""Provider keys: where they come from, and a type that does not show them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rillgate.app.settings.rules import Misfit

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
# AWS, Systems Manager API reference, PutParameter, and Secrets Manager API reference, CreateSecret, read 2026-11-21.
_PARAMETER = re.compile(r"(?:/[A-Za-z0-9_.-]+){1,15}")
_SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+")
_REMEDY = "put the key into an environment variable or a file and give 'env:NAME', 'file:/path' or 'none'"


class Secret:
    """A value that repr, str and format do not show; `reveal()` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one header it goes into."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


class SecretName(msgspec.Struct, frozen=True):
    """A value that AWS keeps, by its name: it is fetched when it is first needed, and again after some time.

    Attributes:
        service: "ssm" for Systems Manager's Parameter Store, "secret" for Secrets Manager.
        name: the parameter's name, or the secret's ARN.
    """

    service: Literal["ssm", "secret"]
    name: str

    @property
    def region(self) -> str | None:
        """The region that an ARN names; None for a parameter's name, which is looked up where the process runs."""
        return self.name.split(":")[3] if self.name.startswith("arn:") else None

    def __str__(self) -> str:
        return f"{self.service}:{self.name}"


def read_secret(reference: str, *, environ: Mapping[str, str], folder: Path) -> Secret | SecretName | None:
    """Fetch the key that `reference` names, or give the name where AWS keeps it.

    Shape:  'env:LAB_KEY' → Secret; 'file:/run/secrets/lab' → Secret; 'ssm:/prod/lab' → SecretName; 'none' → None.
    Args:   folder: where a relative path starts.
    Raises: Misfit: it names nothing, or is the key itself. No message repeats a key.
    """
    source, colon, name = reference.strip().partition(":")
    if reference.strip() == "none":
        return None
    if colon and source == "env":
        return _from_variable(name, environ)
    if colon and source == "file" and name:
        return _from_file(name, folder)
    if colon and source == "ssm":
        return parameter_name(name)
    if colon and source == "secret":
        return _secret_arn(name)
    expected = "expected 'env:NAME', 'file:/path', 'ssm:/path', 'secret:ARN' or 'none'"
    raise Misfit(f"{expected}; a key itself does not belong here", _REMEDY)


def parameter_name(name: str) -> SecretName:
    """A parameter of Systems Manager, by its full name.

    Raises: Misfit: it is none.
    """
    if not _PARAMETER.fullmatch(name):
        raise Misfit("'ssm:' takes a parameter's full name", "give one such as 'ssm:/rillgate/openai-key'")
    return SecretName("ssm", name)


def _secret_arn(name: str) -> SecretName:
    if not _SECRET_ARN.fullmatch(name):
        raise Misfit(
            "'secret:' takes the ARN of a secret in Secrets Manager",
            "give 'secret:arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME'",
        )
    return SecretName("secret", name)


def header_safe(value: str) -> Secret:
    """A key without the white space around it.

    Raises: Misfit: it is empty, or no header can carry it.
    """
    key = value.strip()
    if not key:
        raise Misfit("the key is empty", "set it, or give 'none'")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Misfit("the key holds white space or characters that no header can carry", "give the key alone")
    return Secret(key)


def _from_variable(name: str, environ: Mapping[str, str]) -> Secret:
    # A name in any other spelling may well be a key that was pasted behind "env:", so it is not repeated.
    known = _VARIABLE.fullmatch(name) is not None
    called = f"environment variable {name}" if known else "the environment variable that it names"
    if name not in environ:
        raise Misfit(f"{called} is not set", "set it, or give 'none'")
    if not environ[name].strip():
        raise Misfit(f"{called} is empty", "set it, or give 'none'")
    return header_safe(environ[name])


def _from_file(name: str, folder: Path) -> Secret:
    called = f"file {name!r}" if "/" in name else "the file that it names"
    try:
        text = (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        problem = f"{called} cannot be read ({error.strerror})"
    except ValueError:  # a NUL in the path, or bytes that are no text
        problem = f"{called} holds no text"
    else:
        return header_safe(text)
    raise Misfit(problem, "put the key there, or correct the path")
