"""The configuration: one file, environment and flags in, one frozen `Settings` out. `load` begins; the rest serves."""
