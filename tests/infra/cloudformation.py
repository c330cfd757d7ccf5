"""The template as CloudFormation sees it: SAM's transform, then conditions and references for given parameters.

Only as much of CloudFormation's functions as our templates use; what is not known before a deployment becomes a text
that says what it stands for, such as "<Tables.Outputs.TableArn>".
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SAM: Final = ROOT / "build" / "sam" / "bin"
REMEDY: Final = "VENV=build/sam sh scripts/environment sam"
REGION: Final = "eu-central-1"
PSEUDO: Final = {
    "AWS::Region": REGION,
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::StackName": "rillgate",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE: Final = object()
SEEN_BY_SAM: Final = {"Deployment"}  # its transform reads this parameter; all others it leaves to CloudFormation


def sam_python() -> Path:
    """The interpreter of SAM's environment; skips the test where it is not made."""
    python = SAM / "python"
    if not python.exists():
        pytest.skip(f"SAM is not installed: {REMEDY}")
    return python


@cache
def transformed(path: str = "template.yaml", changed: str = "", **parameters: str) -> dict[str, Any]:
    """SAM's own transform, with these parameters."""
    given = [f"{name}={value}" for name, value in parameters.items()]
    more = ["--changed", changed] if changed else []
    done = subprocess.run(
        [sam_python(), ROOT / "tests" / "infra" / "transformed.py", ROOT / path, *given, *more],
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": REGION},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    template: dict[str, Any] = json.loads(done.stdout)
    return template


class Stack:
    """What a template becomes with these parameters.

    Attributes:
        template: after SAM's transform, before anything is resolved.
        resources: those whose condition holds, with everything resolved that is known.
        outputs: the same of outputs.
    """

    def __init__(self, path: str = "template.yaml", **given: str) -> None:
        self.template = transformed(path, **{name: value for name, value in given.items() if name in SEEN_BY_SAM})
        declared = self.template["Parameters"]
        assert given.keys() <= declared.keys()
        self._values: dict[str, str] = {
            **PSEUDO,
            **{name: str(given.get(name, one.get("Default", ""))) for name, one in declared.items()},
        }
        self.resources: dict[str, Any] = self._present("Resources")
        self.outputs: dict[str, Any] = self._present("Outputs")

    def of_type(self, kind: str) -> dict[str, Any]:
        """Properties of the resources of a type, by logical id."""
        return {name: one.get("Properties", {}) for name, one in self.resources.items() if one["Type"] == kind}

    def rule_holds(self, name: str) -> bool:
        """Whether the parameters keep one of the template's rules."""
        rule = self.template["Rules"][name]
        if not self._resolve(rule.get("RuleCondition", True)):
            return True
        return all(self._resolve(each["Assert"]) for each in rule["Assertions"])

    def _present(self, section: str) -> dict[str, Any]:
        found = {}
        for name, one in self.template.get(section, {}).items():
            if "Condition" not in one or self._holds(one["Condition"]):
                found[name] = self._resolve(one)
        return found

    def _holds(self, name: str) -> bool:
        return bool(self._resolve(self.template["Conditions"][name]))

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in map(self._resolve, value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Condition" and isinstance(argument, str):
                return self._holds(argument)
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        resolved = {
            name: self._resolve(one) for name, one in value.items() if name != "Condition" or "Type" not in value
        }
        return {name: one for name, one in resolved.items() if one is not NO_VALUE}

    def _call(self, function: str, argument: Any) -> Any:
        if function == "If":
            name, yes, no = argument
            return self._resolve(yes if self._holds(name) else no)
        if function == "Ref":
            return NO_VALUE if argument == "AWS::NoValue" else self._values.get(argument, f"<{argument}>")
        if function == "GetAtt":
            return f"<{argument if isinstance(argument, str) else '.'.join(argument)}>"
        if function == "Sub":
            return self._substituted(argument)
        parts = self._resolve(argument)
        functions: dict[str, Callable[[], Any]] = {
            "Equals": lambda: str(parts[0]) == str(parts[1]),
            "Not": lambda: not parts[0],
            "And": lambda: all(parts),
            "Or": lambda: any(parts),
            "Contains": lambda: parts[1] in parts[0],
            "Join": lambda: parts[0].join(parts[1]),
            "Select": lambda: parts[1][int(parts[0])] if int(parts[0]) < len(parts[1]) else "",
            "Split": lambda: parts[1].split(parts[0]),
            "FindInMap": lambda: self.template["Mappings"][parts[0]][parts[1]][parts[2]],
        }
        return functions[function]()

    def _substituted(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument
        known: Mapping[str, Any] = {**self._values, **{name: self._resolve(one) for name, one in own.items()}}
        filled = re.sub(r"\$\{([^}!]+)\}", lambda found: str(known.get(found[1], f"<{found[1]}>")), text)
        return filled.replace("${!", "${")  # what is to stay
