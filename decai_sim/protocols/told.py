"""What one sender tells several receivers."""

from __future__ import annotations

from typing import Any


class Told(dict[int, Any]):
    """What is sent to several and differs, by receiver; sent at once it is one message to each, as if it were the same."""
