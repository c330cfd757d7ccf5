"""Other gateways to measure beside: where they are not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import peers
from benchmarks.ways import MissingError


@pytest.mark.parametrize("name", ["ferrogw", "litellm"])
def test_peer_that_is_not_installed_names_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without them goes on, and its rows say what to do."""
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    assert peers.version_of(name) == ""
    with pytest.raises(MissingError, match="make bench-peers"), peers.kinds()[name].open(1):
        pass


def test_peer_version_is_that_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table says which one was measured; packages whose names begin alike are others."""
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    packages = tmp_path / "build" / "peers-litellm" / "lib" / "python3.13" / "site-packages"
    for name in ("litellm-1.2.3.dist-info", "litellm_enterprise-9.dist-info"):
        (packages / name).mkdir(parents=True)
    assert peers.kinds()["litellm"].words == "litellm 1.2.3"
