"""Load of a trial's process and of its machine: the `system/` metrics, which MLflow shows under
their own heading.
"""

import time

import psutil

_EVERY_SECONDS = 1.0
_MB = 1e6


class UsageMeter:
    """Samples CPU and memory as often as it is asked, but not more than once a second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._next = 0.0
        self._process.cpu_percent()  # the first call begins to count
        psutil.cpu_percent()

    def __call__(self) -> dict[str, float]:
        """CPU in percent since the last sample: of one core for the process, of all cores for the
        machine; memory now.
        """
        now = time.monotonic()
        if now < self._next:
            return {}
        self._next = now + _EVERY_SECONDS
        return {
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / _MB,
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_percentage": psutil.virtual_memory().percent,
        }
