"""Floor 5: settings, the composition root, Starlette routes and the chat page."""
