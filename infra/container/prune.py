"""Takes out of an environment what no container runs: python3 prune.py FOLDER, the environment's.

Licences stay. What goes needs no lock file of its own: requirements/serve.txt is one for every home.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

PATTERNS = (
    "share",
    "lib*/python3*/site-packages/__pycache__",
    # What builds the package, and what only a function on Lambda imports.
    "lib/python3*/site-packages/setuptools*",
    "lib/python3*/site-packages/_distutils_hack",
    "lib/python3*/site-packages/distutils-precedence.pth",
    "lib/python3*/site-packages/mangum*",
    "lib/python3*/site-packages/aws_lambda_powertools*",
    # What no program reads.
    "lib/python3*/site-packages/*/tests",
    "lib/python3*/site-packages/**/*.pyi",
    "lib/python3*/site-packages/**/*.pyx",
    "lib/python3*/site-packages/**/*.pxd",
    "lib/python3*/site-packages/**/*.c",
    "lib/python3*/site-packages/**/*.h",
    "lib/python3*/site-packages/boto3/examples",
)
# Of AWS's descriptions, which are nearly all of botocore, the table's and those that credentials are got by.
DESCRIPTIONS = ("boto3/data", "botocore/data")
SERVICES = frozenset({"dynamodb", "sts", "sso", "sso-oidc", "signin"})


def unused(environment: Path) -> Iterator[Path]:
    """Every file and folder that goes."""
    for pattern in PATTERNS:
        yield from environment.glob(pattern)
    for folder in DESCRIPTIONS:
        for path in environment.glob(f"lib/python3*/site-packages/{folder}/*"):
            if path.is_dir() and path.name not in SERVICES:
                yield path


def prune(environment: Path) -> None:
    """Delete what is unused."""
    for path in list(unused(environment)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    prune(Path(sys.argv[1]))
