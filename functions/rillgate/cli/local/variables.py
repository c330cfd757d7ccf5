"""Which of the caller's variables a function gets, as if they stood in its configuration.

Those of Rillgate, of AWS, of Azure and of providers, and what the configuration names with `env:NAME`. Nothing else: a
variable that only happens to be set here would be missed when the function is deployed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rillgate.app.settings.found import PROVIDER_VARIABLES
from rillgate.app.settings.load import Settings, load_settings

PREFIXES = ("RILLGATE_", "AWS_", "AZURE_", "LAMBDA_ASGI_", "POWERTOOLS_")
CONFIG = "RILLGATE_CONFIG"
LEDGER_URL = "RILLGATE_LEDGER__URL"
_REFERENCE = re.compile(r"\benv:([A-Z_][A-Z0-9_]*)")


def configured_variables(
    config: Path | None, environ: Mapping[str, str], cwd: Path
) -> tuple[dict[str, str], Settings | None]:
    """The function's variables and, unless its configuration is kept by AWS, what they come to.

    Args:
        config: the file that --config names; None for RILLGATE_CONFIG, else ./rillgate.toml if it is there.
        environ, cwd: the caller's. Paths become absolute, since the function runs elsewhere.
    Raises: SettingsError: the configuration cannot be used.
    """
    found = {name: value for name, value in environ.items() if name.startswith(PREFIXES) or name in PROVIDER_VARIABLES}
    if config is None and found.get(CONFIG, "").startswith("ssm:"):
        return found, None
    flags = {"auth.required": True, "server.metrics": "off"}  # as on Lambda, whatever the configuration says
    settings = load_settings(config=config, flags=flags, environ=environ, cwd=cwd)
    text = ""
    if settings.file is not None:
        found[CONFIG] = str(settings.file.absolute())
        text = settings.file.read_text(encoding="utf-8")
    names = _REFERENCE.findall(
        "\n".join([text, *(value for name, value in found.items() if name.startswith(PREFIXES))])
    )
    found |= {name: environ[name] for name in names if name in environ}
    found[LEDGER_URL] = settings.ledger.url
    return found, settings
