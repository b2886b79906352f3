"""Finds the feature interactions a click-through-rate model needs."""

import os

# Threads that spin while they wait make training ten times slower wherever another process wants the same
# cores. This has an effect only before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
