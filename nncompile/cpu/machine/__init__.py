"""The machine: its caches and cores, and its limits."""
