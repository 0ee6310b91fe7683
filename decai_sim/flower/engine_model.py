"""What Flower's own engine adds to the apps' work: polls, process starts, and how fast a client's process computes."""

from __future__ import annotations

from pydantic import Field

from decai_sim.component import Description


class EngineModel(Description):
    """A real SuperLink with SuperNodes, as the simulator is to reckon with them: ``ds.run(scenario, engine=EngineModel(...))``.

    Without one, messages are taken up the moment they arrive, which is what Flower would be if it did not poll. With one, an
    instruction waits at the SuperLink until its SuperNode polls, which it does every ``node_poll_s`` since its last reply was
    sent. The SuperNode's SuperExec, which looks every ``task_poll_s``, starts a process for it, while the content is still being
    downloaded. The reply waits for the SuperNode to look, every ``reply_poll_s``, and is announced to the SuperLink before its
    content is uploaded; the ``ServerApp`` asks every ``grid_poll_s`` since it has sent the instructions. Who finds a message
    whose content is not complete asks for it again after 1 s, then 2, 4, 8, and every 10.

    Source: flwr 1.41: ``supernode/start_client_internal.py`` (3 s, 0.5 s), ``supercore/superexec/run_superexec.py`` (1 s),
    ``superlink/grid/http_grid.py`` (3 s), ``supercore/inflatable/inflatable_utils.py`` (asking again).
    Assumes: as many processors as nodes that compute at once, or a ``flops_per_s`` that was measured with so many at work.
    Deviations: at which moment of its cycle a SuperExec is when a task comes is drawn anew each time, and so is when a SuperNode
        polls for the first time. Asking again has no jitter.

    Attributes:
        start_s: from the SuperExec's start of a process until it calls the ``ClientApp``, seconds; of ours, plus the time to load
            the data.
        end_s: from the end of the ``ClientApp`` until its reply is at the SuperNode.
        server_s: from the last reply until the next instructions are sent.
        flops_per_s: how fast a client's process computes; None: as the scenario's devices do.
        grid_poll_s: how often the ``ServerApp`` looks for replies; fixed in Flower's source like those below.
        node_poll_s: how often a SuperNode looks for instructions.
        task_poll_s: how often its SuperExec looks for tasks.
        reply_poll_s: how often the SuperNode looks whether the reply is there.

    Example:
        >>> import decai_sim as ds
        >>> scenario = ds.Scenario(nodes=2, task="digits", protocol={"kind": "federated", "rounds": 3, "fraction": 1})
        >>> t_s = ds.run(scenario, progress=False, engine=EngineModel(start_s=2.5)).rounds.t_s
        >>> bool(t_s.diff().median() >= 6)
        True
    """

    start_s: float = Field(default=3.0, ge=0)
    end_s: float = Field(default=0.05, ge=0)
    server_s: float = Field(default=0.05, ge=0)
    flops_per_s: float | None = Field(default=None, gt=0)
    grid_poll_s: float = Field(default=3.0, gt=0)
    node_poll_s: float = Field(default=3.0, gt=0)
    task_poll_s: float = Field(default=1.0, gt=0)
    reply_poll_s: float = Field(default=0.5, gt=0)


def next_poll_s(now_s: float, since_s: float, every_s: float) -> float:
    """The first of the times ``since_s``, ``since_s + every_s``, … that is not before ``now_s``.

    Example:
        >>> next_poll_s(7.0, 1.0, 3.0), next_poll_s(7.1, 1.0, 3.0), next_poll_s(0.5, 1.0, 3.0)
        (7.0, 10.0, 1.0)
    """
    missed = -(-(now_s - since_s) // every_s)
    return since_s + max(0.0, missed) * every_s


def pulled_s(asked_s: float, complete_s: float) -> float:
    """When somebody has a content who asks for it first at ``asked_s``, and which is complete at ``complete_s``.

    Example:
        >>> pulled_s(5.0, 4.0), pulled_s(5.0, 5.5), pulled_s(5.0, 6.5), pulled_s(5.0, 31.0)
        (5.0, 6.0, 8.0, 40.0)
    """
    again_s = 1.0
    while asked_s < complete_s:
        asked_s += again_s
        again_s = min(2 * again_s, 10.0)
    return asked_s
