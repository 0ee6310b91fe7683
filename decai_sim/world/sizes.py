"""Sizes of messages on the wire."""

from __future__ import annotations

ENVELOPE_BYTES = 256
"""Metadata of a message: flwr 1.41's ``Message.deflate()`` measures 150 to 300 bytes."""
