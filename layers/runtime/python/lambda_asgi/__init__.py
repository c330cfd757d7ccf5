"""Any ASGI app on AWS Lambda's response streaming, from Python on the managed runtime. Standard library only.

The way of an invocation: runtime_api (GET next) → events (event to scope) → cycle (the app's receive and send) →
sinks (streamed or buffered) → response_stream (bytes on the wire) → runtime_api again. `worker` walks it, `deadline`
bounds it, `runtime` starts and ends the whole. The layer's README says what an app may rely on.
"""

__version__ = "0.1.0"
