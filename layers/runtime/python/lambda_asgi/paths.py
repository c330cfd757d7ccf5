"""`sys.path` as the managed runtime's own bootstrap builds it: it does so itself, so replacing it loses the paths.

First to last: the task root; a layer's site-packages; a layer's python/; the interpreter's site-packages (boto3 lies
there); then what was there. With PYTHONPATH set, only the task root is added, as AWS does it.

Source: /var/runtime/bootstrap.py of the managed runtimes for 3.10 and 3.11, public notes read 2026-11-21.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Callable, MutableMapping

MANAGED_PREFIX = "/var/lang"


def set_paths(
    layer_python: str,
    environ: MutableMapping[str, str] = os.environ,
    path: list[str] = sys.path,
    add_site_dir: Callable[[str], object] = site.addsitedir,
) -> None:
    """Make everything importable that the managed runtime would, and give children the PYTHONPATH they would get.

    Args:
        layer_python: the python/ folder this package lies in; on Lambda /opt/python.
        environ: LAMBDA_TASK_ROOT, LAMBDA_RUNTIME_DIR and PYTHONPATH are read, the last is set.
        path, add_site_dir: others than the interpreter's own, for tests. Files ending in .pth in the site folders run.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    task_root = environ.get("LAMBDA_TASK_ROOT") or os.getcwd()
    runtime_dir = environ.get("LAMBDA_RUNTIME_DIR", "")
    layer_site = f"{layer_python}/lib/{version}/site-packages"
    if "PYTHONPATH" in environ:
        path.insert(0, task_root)
        add_site_dir(task_root)
        return
    path[:0] = [task_root, layer_site, layer_python, f"{MANAGED_PREFIX}/lib/{version}/site-packages"]
    if runtime_dir:
        path.insert(4, runtime_dir)  # where AWS's bootstrap lies, and so its sys.path[0]
        environ["PYTHONPATH"] = runtime_dir
    for folder in (task_root, layer_site, layer_python):
        add_site_dir(folder)
