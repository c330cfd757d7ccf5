"""Fixtures for the tests of whole programs."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.e2e.browser import Console, browser, console, gateway, page, page_url, stub

__all__ = ["browser", "console", "gateway", "page", "page_url", "stub"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, object, object]:
    """Tell a test's console when the test's own lines are over."""
    try:
        return (yield)
    finally:
        if isinstance(complaints := item.funcargs.get("console"), Console):
            complaints.test_is_over = True
