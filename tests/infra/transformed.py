"""Runs in the environment `sam`, apart from the tests': prints the template as CloudFormation gets it, as JSON.

    build/sam/bin/python tests/infra/transformed.py TEMPLATE [NAME=VALUE…] [--changed LOGICAL_ID]

Each package's place is made up from its logical id; `--changed` gives one another place, as a new build does.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

FUNCTION, LAYER, NESTED = (f"AWS::Serverless::{kind}" for kind in ("Function", "LayerVersion", "Application"))
PLACES = {FUNCTION: "CodeUri", LAYER: "ContentUri"}


class NoManagedPolicies:
    """In the place of SAM's loader of AWS's own policies; none is used."""

    def load(self) -> dict[str, str]:
        """SAM's interface."""
        return {}


def packaged(template: dict[str, Any], changed: str) -> dict[str, Any]:
    """The template as `sam package` leaves it: places in a bucket."""
    template.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    for name, resource in template["Resources"].items():
        kind = resource["Type"]
        if kind in PLACES:
            resource["Properties"][PLACES[kind]] = f"s3://bucket/{name}{'-new' if name == changed else ''}"
        elif kind == NESTED:
            resource["Properties"]["Location"] = f"https://s3.amazonaws.com/bucket/{name}.yaml"
    return template


def main(arguments: list[str]) -> None:
    """Print it."""
    logging.disable(logging.CRITICAL)
    changed = ""
    if "--changed" in arguments:
        at = arguments.index("--changed")
        changed = arguments[at + 1]
        del arguments[at : at + 2]
    path, *given = arguments
    template = packaged(yaml_parse(Path(path).read_text(encoding="utf-8")), changed)
    values = dict(each.split("=", 1) for each in given)
    json.dump(transform(template, values, NoManagedPolicies()), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
