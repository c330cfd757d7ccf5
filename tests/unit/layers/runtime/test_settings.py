"""The layer's variables."""

from __future__ import annotations

import pytest

from lambda_asgi.settings import Settings, SettingsError


def test_settings_without_variables_are_the_defaults() -> None:
    """Nothing has to be set; what is empty is not set."""
    assert Settings.from_environ({"LAMBDA_ASGI_STALL_S": "", "LAMBDA_ASGI_RESPONSE_MODE": ""}) == Settings()


def test_settings_take_each_variable() -> None:
    """One name for each field."""
    environ = {
        "LAMBDA_ASGI_RESPONSE_MODE": "stream",
        "LAMBDA_ASGI_LIFESPAN": "off",
        "LAMBDA_ASGI_BASE_PATH": "/x/",
        "LAMBDA_ASGI_DEADLINE_MARGIN_S": "5",
        "LAMBDA_ASGI_STALL_S": "0",
        "LAMBDA_ASGI_SHUTDOWN_GRACE_S": "1.5",
        "LAMBDA_ASGI_ERROR_DETAILS": "type",
    }
    assert Settings.from_environ(environ) == Settings("stream", "off", "/x", 5.0, 0.0, 1.5, "type")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESPONSE_MODE", "STREAM"),
        ("LIFESPAN", "yes"),
        ("ERROR_DETAILS", "none"),
        ("STALL_S", "-1"),
        ("STALL_S", "nan"),
        ("DEADLINE_MARGIN_S", "inf"),
        ("SHUTDOWN_GRACE_S", "2s"),
        ("BASE_PATH", "api"),
    ],
)
def test_settings_with_an_impossible_value_are_refused_by_name(name: str, value: str) -> None:
    """The message names the variable and what stood there."""
    with pytest.raises(SettingsError, match=f"LAMBDA_ASGI_{name}='{value}'"):
        Settings.from_environ({f"LAMBDA_ASGI_{name}": value})
