"""The transport of our own: HTTP/1.1 on asyncio protocols, parsed by httptools, pooled for each origin."""
