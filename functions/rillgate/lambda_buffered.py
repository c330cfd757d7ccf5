"""Entry point without streaming, on the stock runtime: `Handler: rillgate.lambda_buffered.handler`.

For REST and HTTP APIs, which take whole answers only, and for `sam local`.
"""

from __future__ import annotations

import os

from rillgate.app.buffered import Buffered
from rillgate.app.on_lambda import compose

handler = Buffered(compose(os.environ))
