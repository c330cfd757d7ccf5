"""What the bootstrap runs, by its path: finds its own package, then leaves everything to `runtime`."""

import sys

if __name__ == "__main__":
    # Run by path, sys.path[0] is this very folder: its modules would stand in for others of the same name.
    sys.path[0] = __file__.rpartition("/lambda_asgi/")[0]
    from lambda_asgi.runtime import main

    del sys.path[0]
    sys.exit(main(layer_python=__file__.rpartition("/lambda_asgi/")[0]))
