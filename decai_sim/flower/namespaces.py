"""Links of given rates on this machine: network namespaces, shaped by the kernel."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from decai_sim.errors import DecaiError
from decai_sim.flower.deploy import Site

_SUBNET = "10.177"
_HUB = f"{_SUBNET}.255.1"
_BURST_BYTES = 16_384
_QUEUE_S = 2.0


def possible() -> bool:
    """Whether namespaces can be made here: that takes Linux, root's rights and the programs ``ip`` and ``tc``."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        return False
    try:
        with shaped(1, 1e6, 1e6):
            return True
    except DecaiError:
        return False


@contextlib.contextmanager
def shaped(nodes: int, up_bps: float, down_bps: float) -> Iterator[Site]:
    """A namespace for the server and one for each node, with a link of its own from each node to the server.

    Rates are kept by the kernel's token bucket filter (``tc tbf``), which delays what is sent too fast.

    Args:
        nodes: how many.
        up_bps: what a node can send, bits per second.
        down_bps: what it can receive.

    Raises:
        DecaiError: the kernel does not allow it.
    """
    if not nodes <= 250:
        raise DecaiError(f"nodes: {nodes} is not allowed: at most 250 namespaces")
    prefix = f"decai{os.getpid()}"
    hub, names = f"{prefix}s", [f"{prefix}n{node}" for node in range(nodes)]
    with contextlib.ExitStack() as stack:
        for name in (hub, *names):
            _do("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True, check=False)
            _do("ip", "-n", name, "link", "set", "lo", "up")
        _do("ip", "-n", hub, "address", "add", f"{_HUB}/32", "dev", "lo")
        for node, name in enumerate(names):
            near, far = f"to{node}", "out"
            _do("ip", "-n", hub, "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
            _do("ip", "-n", hub, "address", "add", f"{_SUBNET}.{node}.1/24", "dev", near)
            _do("ip", "-n", name, "address", "add", f"{_SUBNET}.{node}.2/24", "dev", far)
            _do("ip", "-n", hub, "link", "set", near, "up")
            _do("ip", "-n", name, "link", "set", far, "up")
            _do("ip", "-n", name, "route", "add", "default", "via", f"{_SUBNET}.{node}.1")
            _shape(hub, near, down_bps)
            _shape(name, far, up_bps)
        yield Site(_HUB, ("ip", "netns", "exec", hub), tuple(("ip", "netns", "exec", name) for name in names))


def _shape(namespace: str, device: str, bps: float) -> None:
    burst, queue = str(_BURST_BYTES), f"{_QUEUE_S:g}s"
    _do(
        "tc",
        "-n",
        namespace,
        "qdisc",
        "add",
        "dev",
        device,
        "root",
        "tbf",
        "rate",
        f"{bps:.0f}bit",
        "burst",
        burst,
        "latency",
        queue,
    )


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DecaiError(f"namespaces: {' '.join(command)!r} failed: {' '.join(done.stderr.split()) or done.returncode}")
