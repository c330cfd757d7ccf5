"""Lambda on this machine: a Function URL in front, Runtime APIs behind, environments as child processes."""
