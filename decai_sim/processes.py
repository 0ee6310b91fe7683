"""Ray, started where it does not run yet."""

from __future__ import annotations

import logging
import os

_TRIES = 3
_SLOW = "timed out during startup"


def start_ray(workers: int) -> bool:
    """Start Ray with room for so many processes, unless it runs already; returns whether it was started here.

    On a busy machine Ray gives up on its own processes after half a minute; then it is started anew.

    Raises:
        Exception: Ray could not be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False
    for attempt in range(_TRIES):
        try:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            break
        except Exception as error:  # Ray raises nothing more special
            ray.shutdown()
            if _SLOW not in str(error) or attempt == _TRIES - 1:
                raise
    return True
