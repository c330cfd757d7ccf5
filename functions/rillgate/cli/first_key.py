"""`rillgate serve --first-key`: a gateway that others can reach is closed from its first start, and usable."""

from __future__ import annotations

from contextlib import closing

from rillgate.app.settings.types import LedgerSettings
from rillgate.cli.context import Context
from rillgate.cli.ledger_option import located, open_store, table_told
from rillgate.domain.principal import VirtualKey
from rillgate.identity.keys import digest, new_key, parse
from rillgate.ledger.admin_keys import create_key, list_keys
from rillgate.ledger.admin_scopes import AdminError

NAME = "first"


def first_key(settings: LedgerSettings, context: Context) -> str | None:
    """A new key where the ledger has had none yet; None where it has one, a revoked one too.

    Of several gateways that start at once on one ledger, one makes it: a key's name is claimed in the same transaction.
    Raises: UsageError: the ledger is in memory. AdminError, StoreUnavailable: it cannot be used.
    """
    location = located(settings.url, context, "--first-key")
    secret = new_key()
    key = VirtualKey(parse(secret), NAME, digest(secret), created_s=int(context.now_s()))
    with closing(open_store(location, context)) as store, table_told(location):
        if list_keys(store):
            return None
        try:
            create_key(store, key, None)
        except AdminError:  # another gateway was faster
            return None
    return secret
