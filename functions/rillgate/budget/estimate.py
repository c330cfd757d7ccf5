"""Placeholder while the real one is being written."""

from __future__ import annotations
from collections.abc import Mapping
from typing import Any
from rillgate.domain.ports import Encoding


def prompt_bytes(fields: Mapping[str, Any]) -> int:
    return len(str(fields))


def estimate_prompt(fields: Mapping[str, Any], encoding: Encoding) -> int:
    return encoding.count(str(fields))
