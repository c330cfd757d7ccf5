"""The function's Handler, `package.module.attribute`, to the ASGI app that it names.

The object may be a stock handler as well, one that also takes two arguments; here it is called with three.
"""

from __future__ import annotations

import importlib
import inspect

from lambda_asgi.cycle import App
from lambda_asgi.failures import Failure


class HandlerError(Exception):
    """The handler cannot be used.

    Attributes:
        failure: what Lambda is told.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def load_handler(name: str, *, details: str = "message") -> App:
    """Import a handler.

    Args:
        name: `_HANDLER`; the module's path may have slashes for dots, as Lambda's own runtime takes it.
        details: "type" keeps messages of the app's exceptions out of the failure.
    Raises:
        HandlerError: malformed, not to be imported, not there, or no ASGI app. Whatever an import raises is in it.
    """
    path, _, attribute = name.rpartition(".")
    if not path or not attribute:
        raise _refusal("Runtime.MalformedHandlerName", f"The handler {name!r} is not of the form module.attribute.")
    try:
        module = importlib.import_module(path.replace("/", "."))
    except SyntaxError as error:
        raise HandlerError(Failure.of(error, details=details, kind="Runtime.UserCodeSyntaxError")) from error
    except ImportError as error:
        raise HandlerError(Failure.of(error, details=details, kind="Runtime.ImportModuleError")) from error
    except Exception as error:
        raise HandlerError(Failure.of(error, details=details)) from error
    app = getattr(module, attribute, None)
    if app is None:
        raise _refusal("Runtime.HandlerNotFound", f"The module {path!r} has no {attribute!r}.")
    if not _takes_three(app):
        text = f"The handler {name!r} is no ASGI app: it does not take (scope, receive, send)."
        raise _refusal("Runtime.HandlerNotFound", text)
    return app  # type: ignore[no-any-return]


def _refusal(kind: str, message: str) -> HandlerError:
    return HandlerError(Failure(kind, message))


def _takes_three(app: object) -> bool:
    if not callable(app):
        return False
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:
        return True  # compiled code may not tell
    return True
