"""`sys.path` as the managed runtime would have it."""

from __future__ import annotations

import sys

from lambda_asgi.paths import set_paths

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def test_paths_stand_in_the_order_of_the_managed_runtime() -> None:
    """Task root, layers, the interpreter's packages, the runtime's folder; the first three run their .pth files."""
    path = ["/usr/lib/python"]
    sites: list[str] = []
    environ = {"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime"}
    set_paths("/opt/python", environ, path, sites.append)
    assert path == [
        "/var/task",
        f"/opt/python/lib/{VERSION}/site-packages",
        "/opt/python",
        f"/var/lang/lib/{VERSION}/site-packages",
        "/var/runtime",
        "/usr/lib/python",
    ]
    assert sites == ["/var/task", f"/opt/python/lib/{VERSION}/site-packages", "/opt/python"]
    assert environ["PYTHONPATH"] == "/var/runtime", "children get what the managed runtime gives them"


def test_paths_with_pythonpath_set_are_the_task_root_and_what_was_asked_for() -> None:
    """Who sets it chooses everything else, as on the managed runtime."""
    path = ["/mine"]
    sites: list[str] = []
    environ = {"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "PYTHONPATH": "/mine"}
    set_paths("/opt/python", environ, path, sites.append)
    assert path == ["/var/task", "/mine"]
    assert sites == ["/var/task"]
    assert environ["PYTHONPATH"] == "/mine"
