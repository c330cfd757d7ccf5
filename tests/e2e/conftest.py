"""Fixtures for the tests of whole programs."""

from __future__ import annotations

from tests.e2e.browser import browser, console, gateway, page, page_url, stub

__all__ = ["browser", "console", "gateway", "page", "page_url", "stub"]
