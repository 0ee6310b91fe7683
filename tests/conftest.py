"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DECAI_SIM_PATH"] = "stacked:32"  # whatever has been measured on this machine

# The same examples on every machine, however loaded it is.
settings.register_profile("decai_sim", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("decai_sim")
