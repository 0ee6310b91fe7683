"""What a Flower app lives through on a simulated internet: deadlines, losses, churn and waiting, all in virtual time."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
import time as time_module
from collections.abc import Callable, Iterable
from time import sleep, time
from typing import Any

import flwr.app.message.message as message_module
import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from pydantic import Field

import decai_sim as ds
from decai_sim.flower import handoff
from decai_sim.flower.compat import EPOCH
from decai_sim.seeding import Streams
from decai_sim.world import Churn

MODEL = {"w": torch.arange(300.0), "b": torch.tensor([1.0, -1.0])}
PRECISION_S = 1e-6
"""Of a Unix time in a float, as ``time.time()`` gives it."""
Serve = Callable[..., Any]


class Timetable(Churn, abstract=True):
    """Some nodes come at a given time, some leave at a given time; the others are always there."""

    comes_s: dict[int, float] = Field(default_factory=dict)
    leaves_s: dict[int, float] = Field(default_factory=dict)

    def start(self, n: int, streams: Streams) -> np.ndarray:
        return np.array([node not in self.comes_s for node in range(n)])

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        first = {**self.comes_s, **self.leaves_s}
        return np.array([first.get(node, np.inf) if k == 0 else np.inf for node in range(len(online))])


def instructions(grid: Grid, **options: Any) -> list[Message]:
    content = RecordDict({"arrays": ArrayRecord(MODEL), "config": ConfigRecord({"server-round": 1})})
    return [Message(content, node, "train", **options) for node in grid.get_node_ids()]


def node_of(message: Message) -> int:
    return message.metadata.src_node_id - 2


def now_s() -> float:
    return time() - EPOCH


def federate(rounds: int, timeout: float = 3600, **options: Any) -> Callable[[Grid], Any]:
    """FedAvg over the small test model."""
    return lambda grid: FedAvg(fraction_evaluate=0.0, **options).start(
        grid, ArrayRecord(MODEL), num_rounds=rounds, timeout=timeout
    )


# -- deadlines and losses -----------------------------------------------------------------------------------------------------


def test_a_round_ends_at_its_virtual_deadline_with_the_replies_that_made_it(serve: Serve, adder: ClientApp) -> None:
    scenario = ds.Scenario(nodes=20, network={"kind": "internet"})
    arrivals: list[float] = []

    def patient(grid: Grid) -> int:
        return len(list(grid.send_and_receive(instructions(grid))))

    run, replied = serve(patient, adder, scenario, work_flops=1e9)
    assert replied == 20
    uploads = run.messages[run.messages.kind == "train_reply"]
    arrivals = sorted(uploads.t_delivered_s)
    deadline = (arrivals[9] + arrivals[10]) / 2

    def hasty(grid: Grid) -> tuple[set[int], float]:
        return {node_of(m) for m in grid.send_and_receive(instructions(grid), timeout=deadline)}, now_s()

    run, (replied, ended) = serve(hasty, adder, scenario, work_flops=1e9)
    assert replied == set(uploads.src[uploads.t_delivered_s <= deadline])
    assert ended == pytest.approx(deadline, abs=PRECISION_S)
    assert run.rounds[["n_selected", "n_replied"]].values.tolist() == [[20, 10]]
    assert run.rounds.t_s.tolist() == pytest.approx([deadline])


def test_slow_uploads_miss_the_deadline_of_a_federation(adder: ClientApp, serve: Serve) -> None:
    # 302 parameters take a second at 12 kbps, more with the envelope.
    slow = ds.Scenario(nodes=5, network={"kind": "internet", "upload_bps": 12e3})
    run, _ = serve(federate(2, timeout=1.0), adder, slow, work_flops=1.0)
    assert run.rounds[["n_selected", "n_replied"]].values.tolist() == [[5, 0], [5, 0]]
    run, _ = serve(federate(2, timeout=10.0), adder, slow, work_flops=1.0)
    assert run.rounds.n_replied.tolist() == [5, 5]


def test_a_lost_message_ends_as_an_error_when_its_time_to_live_ends(serve: Serve, adder: ClientApp) -> None:
    scenario = ds.Scenario(nodes=30, network={"kind": "internet", "loss": 0.2})

    def work(grid: Grid) -> tuple[dict[str, int], list[Message], float]:
        messages = instructions(grid, ttl=60)
        return {m.metadata.message_id: m.metadata.dst_node_id for m in messages}, list(grid.send_and_receive(messages)), now_s()

    run, (_, replies, ended) = serve(work, adder, scenario, work_flops=1e6)
    lost = run.messages[run.messages.outcome == "lost"]
    unlucky = set(lost.src) | set(lost.dst)
    errors = [m for m in replies if m.has_error()]
    assert len(replies) == 30
    assert len(errors) == len(unlucky - {-1}) > 0
    assert {m.error.code for m in errors} == {ErrorCode.MESSAGE_UNAVAILABLE}
    assert {node_of(m) for m in replies if m.has_content()} == set(range(30)) - unlucky
    assert ended == pytest.approx(60)
    assert run.events[run.events.kind == "timeout"].t_s.tolist() == pytest.approx([60.0] * len(errors))


def test_flower_averages_over_what_a_lossy_network_lets_through(serve: Serve, adder: ClientApp) -> None:
    scenario = ds.Scenario(nodes=12, network={"kind": "internet", "loss": 0.25})
    run, result = serve(federate(3, timeout=30.0), adder, scenario, work_flops=1e6)
    assert (run.rounds.n_replied < run.rounds.n_selected).any()
    assert run.rounds.n_replied.min() > 0
    assert not np.allclose(result.arrays["w"].numpy(), MODEL["w"])


# -- churn --------------------------------------------------------------------------------------------------------------------


def test_a_vanished_node_is_listed_until_its_heartbeats_lapse_and_then_unavailable(serve: Serve, adder: ClientApp) -> None:
    scenario = ds.Scenario(nodes=3, network={"kind": "internet"}, churn=Timetable(leaves_s={0: 100.0}))

    def work(grid: Grid) -> dict[str, Any]:
        sleep(101)
        seen = {"listed": list(grid.get_node_ids())}
        replies = list(grid.send_and_receive(instructions(grid)))
        seen |= {"ended_s": now_s(), "later": list(grid.get_node_ids())}
        seen["errors"] = [m.error.code for m in replies if m.has_error()]
        seen["replied"] = sorted(node_of(m) for m in replies if m.has_content())
        again = [Message(RecordDict(), 2, "train")]
        seen["at_once"] = [m.error.code for m in grid.send_and_receive(again)]
        seen["at_once_s"] = now_s()
        return seen

    run, seen = serve(work, adder, scenario, work_flops=1e6)
    assert seen["listed"] == [2, 3, 4]
    assert seen["errors"] == [ErrorCode.NODE_UNAVAILABLE]
    assert seen["replied"] == [1, 2]
    assert 130 <= seen["ended_s"] <= 161  # two heartbeats of 30 s after the last one
    assert seen["later"] == [3, 4]
    assert seen["at_once"] == [ErrorCode.NODE_UNAVAILABLE]
    assert seen["at_once_s"] == seen["ended_s"]
    assert "offline" in set(run.messages.outcome)


def test_a_node_that_vanishes_while_it_works_never_replies(serve: Serve, adder: ClientApp) -> None:
    scenario = ds.Scenario(nodes=2, churn=Timetable(leaves_s={1: 5.0}))
    run, replies = serve(lambda grid: list(grid.send_and_receive(instructions(grid))), adder, scenario, work_flops=36e9 * 100)
    assert [m.has_error() for m in replies] == [True, False] or [m.has_error() for m in replies] == [False, True]
    assert set(run.events[run.events.node == 1].kind) == {"online", "job_start", "offline", "timeout", "job_lost"}


def test_a_node_that_comes_late_is_listed_when_its_first_heartbeat_arrives(serve: Serve, adder: ClientApp) -> None:
    scenario = ds.Scenario(nodes=2, network={"kind": "internet"}, churn=Timetable(comes_s={1: 50.0}))

    def work(grid: Grid) -> list[list[int]]:
        lists = [list(grid.get_node_ids())]
        sleep(50.0001)
        lists.append(list(grid.get_node_ids()))
        sleep(2)
        lists.append(list(grid.get_node_ids()))
        return lists

    _, lists = serve(work, adder, scenario, work_flops=1.0)
    assert lists == [[2], [2], [2, 3]]


# -- clocks and sleeps --------------------------------------------------------------------------------------------------------


def test_messages_carry_virtual_times(serve: Serve) -> None:
    app = ClientApp()
    seen: list[float] = []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen.extend([message.metadata.created_at - EPOCH, now_s()])
        return Message(RecordDict(), reply_to=message)

    def work(grid: Grid) -> list[Any]:
        sleep(1000)
        (message,) = instructions(grid, ttl=600)
        created = message.metadata.created_at - EPOCH
        (reply,) = grid.send_and_receive([message])
        m = reply.metadata
        return [created, m.created_at - EPOCH, m.ttl, m.reply_to_message_id == message.metadata.message_id, now_s()]

    run, (created, replied, ttl, matches, ended) = serve(work, app, ds.Scenario(nodes=1), work_flops=35.84e9 * 7)
    assert seen == [1000, 1000]
    assert (created, matches) == (1000, True)
    job_end = float(run.events[run.events.kind == "job_end"].t_s.iloc[0])
    assert job_end == pytest.approx(1007)
    assert replied == pytest.approx(job_end)
    assert ttl == pytest.approx(1600 - job_end)
    assert ended == pytest.approx(job_end)


def test_a_message_pushed_late_dies_when_the_time_since_its_creation_is_up(serve: Serve) -> None:
    def work(grid: Grid) -> float:
        messages = instructions(grid, ttl=100)
        sleep(40)
        assert [m.error.code for m in grid.send_and_receive(messages)] == [ErrorCode.MESSAGE_UNAVAILABLE]
        return now_s()

    silent = ds.Scenario(nodes=1, network={"kind": "internet", "loss": 0.999})
    assert serve(work, ClientApp(), silent)[1] == pytest.approx(100)


def test_sleeps_and_clocks_are_virtual_however_they_were_imported(serve: Serve) -> None:
    def work(grid: Grid) -> list[float]:
        began = [time(), time_module.time(), time_module.monotonic()]
        for _ in range(10):
            sleep(3600)
            time_module.sleep(3600)
        ended = [time(), time_module.time(), time_module.monotonic()]
        return [b - a for a, b in zip(began, ended, strict=True)]

    run, passed = serve(work, ClientApp(), ds.Scenario(nodes=1))
    assert passed == [72000] * 3
    assert run.provenance["virtual_s"] == 72000
    assert abs(time() - EPOCH) > 1e5  # outside it is another day than in the run


def test_a_client_that_sleeps_is_busy_for_that_long_in_virtual_time(serve: Serve) -> None:
    app = ClientApp()
    clocks: list[float] = []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        before = time()
        sleep(5000)
        time_module.sleep(2000)
        clocks.append(time() - before)
        return Message(RecordDict(), reply_to=message)

    run, _ = serve(lambda grid: list(grid.send_and_receive(instructions(grid))), app, ds.Scenario(nodes=1), work_flops=0.0)
    assert clocks == [7000]
    assert run.provenance["virtual_s"] >= 7000
    assert float(run.events[run.events.kind == "job_end"].t_s.iloc[0]) == pytest.approx(7000)


def test_an_app_that_pushes_and_polls_gets_replies_as_they_arrive_and_keeps_its_own_deadline(
    serve: Serve, adder: ClientApp
) -> None:
    scenario = ds.Scenario(nodes=6, devices={"kind": "mix", "phone": 0.5, "gpu": 0.5})

    def work(grid: Grid) -> tuple[list[tuple[float, int]], float]:
        pending, got = set(grid.push_messages(instructions(grid))), []
        deadline = time() + 5
        while pending and time() < deadline:
            for reply in grid.pull_messages(pending):
                got.append((now_s(), node_of(reply)))
                pending.discard(reply.metadata.reply_to_message_id)
            sleep(0.5)
        return got, now_s()

    # A gpu needs 0.8 s, a phone 65 s.
    run, (got, ended) = serve(work, adder, scenario, work_flops=1e12)
    fast = set(run.nodes.node[run.nodes.device == "gpu"])
    assert 0 < len(fast) < 6
    assert [at for at, _ in got] == [1.0] * len(fast)
    assert {node for _, node in got} == fast
    assert ended == 5.0


def test_an_app_that_polls_without_sleeping_is_carried_from_event_to_event(serve: Serve, adder: ClientApp) -> None:
    def work(grid: Grid) -> tuple[int, list[float]]:
        pending, arrivals, polls = set(grid.push_messages(instructions(grid))), [], 0
        while pending:
            polls += 1
            for reply in grid.pull_messages(pending):
                arrivals.append(now_s())
                pending.discard(reply.metadata.reply_to_message_id)
        return polls, arrivals

    run, (polls, arrivals) = serve(work, adder, ds.Scenario(nodes=5, network={"kind": "internet"}), work_flops=1e9)
    delivered = run.messages[run.messages.kind == "train_reply"].t_delivered_s
    assert arrivals == pytest.approx(sorted(delivered), abs=PRECISION_S)
    assert polls < 100


def test_a_reply_can_be_pulled_once_and_asking_again_is_flowers_error(serve: Serve, adder: ClientApp) -> None:
    def work(grid: Grid) -> list[Any]:
        ids = grid.push_messages(instructions(grid))
        sleep(10)
        first, second = list(grid.pull_messages(ids)), list(grid.pull_messages(ids))
        return [[m.has_content() for m in first], [m.error.code for m in second]]

    _, seen = serve(work, adder, ds.Scenario(nodes=2), work_flops=1.0)
    assert seen == [[True, True], [ErrorCode.MESSAGE_UNAVAILABLE] * 2]


def test_a_pushed_message_is_a_snapshot(serve: Serve) -> None:
    app, seen = ClientApp(), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen.append((dict(message.content["config"]), list(message.content["arrays"])))
        message.content["config"]["server-round"] = 99  # what one client does to its copy is not the next one's business
        return Message(message.content, reply_to=message)

    def work(grid: Grid) -> list[Any]:
        messages = instructions(grid)
        ids = grid.push_messages(messages)
        messages[0].content["config"]["server-round"] = 7
        messages[0].content["arrays"].pop("w")
        sleep(1)
        replies = list(grid.pull_messages(ids))
        return [m.content["config"]["server-round"] for m in replies]

    assert serve(work, app, ds.Scenario(nodes=3), work_flops=1.0)[1] == [99, 99, 99]
    assert seen == [({"server-round": 1}, ["w", "b"])] * 3


# -- waiting ------------------------------------------------------------------------------------------------------------------


def test_flowers_wait_for_enough_nodes_costs_virtual_time(serve: Serve, adder: ClientApp) -> None:
    churn = Timetable(comes_s={1: 1000.0, 2: 6_000.0})
    run, _ = serve(federate(1, min_train_nodes=3), adder, ds.Scenario(nodes=3, churn=churn), work_flops=1.0)
    assert 6_000 <= run.rounds.t_s.iloc[0] < 6_002
    assert run.rounds.n_replied.tolist() == [3]


def test_a_wait_for_nodes_that_do_not_exist_raises_and_says_who_waits(serve: Serve, adder: ClientApp) -> None:
    with pytest.raises(ds.StalledError, match=r"ServerApp .*waits for more nodes .*listed now: 4 of 4"):
        serve(federate(1, min_available_nodes=5), adder, ds.Scenario(nodes=4), work_flops=1.0)


def test_a_hopeless_wait_is_found_in_a_world_that_never_stands_still(
    serve: Serve, adder: ClientApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "PATIENCE_S", 3000.0)
    churn = {"kind": "exponential", "mean_online_s": 100, "mean_offline_s": 20}
    with pytest.raises(ds.StalledError, match=r"waits for more nodes .* of 4"):
        serve(federate(1, min_available_nodes=5), adder, ds.Scenario(nodes=4, churn=churn), work_flops=1.0)


def test_an_app_that_lists_nodes_without_sleeping_stalls_too(serve: Serve, adder: ClientApp) -> None:
    def work(grid: Grid) -> None:
        while len(list(grid.get_node_ids())) < 3:
            pass

    with pytest.raises(ds.StalledError, match="listed now: 2 of 2"):
        serve(work, adder, ds.Scenario(nodes=2), work_flops=1.0)


def test_an_app_cannot_swallow_the_stall(serve: Serve, adder: ClientApp) -> None:
    def work(grid: Grid) -> None:
        try:
            federate(1, min_available_nodes=5)(grid)
        except Exception:
            pytest.fail("the app has seen the end of its run as an exception")

    with pytest.raises(ds.StalledError):
        serve(work, adder, ds.Scenario(nodes=4), work_flops=1.0)


def test_an_app_that_sleeps_for_ever_stalls_and_one_that_sleeps_for_a_month_does_not(serve: Serve, adder: ClientApp) -> None:
    def forever(grid: Grid) -> None:
        while True:
            sleep(60)

    with pytest.raises(ds.StalledError, match="nothing but sleep since virtual time 0 s"):
        serve(forever, adder, ds.Scenario(nodes=2))

    def patient(grid: Grid) -> int:
        for _ in range(30):
            sleep(86_400)
        for _ in range(8):  # an app may also look around while nothing changes
            list(grid.get_node_ids())
            sleep(3600)
        return len(list(grid.send_and_receive(instructions(grid))))

    assert serve(patient, adder, ds.Scenario(nodes=2), work_flops=1.0)[1] == 2


def test_asking_again_for_replies_already_pulled_does_not_stop_time(serve: Serve, adder: ClientApp) -> None:
    def work(grid: Grid) -> list[int]:
        ids, got = grid.push_messages(instructions(grid)), []
        for _ in range(100):
            got += [node_of(reply) for reply in grid.pull_messages(ids) if reply.has_content()]
            if len(got) == len(ids):
                break
        return got

    _, got = serve(work, adder, ds.Scenario(nodes=5, network={"kind": "internet"}), work_flops=1e9)
    assert sorted(got) == [0, 1, 2, 3, 4]


def test_what_misses_the_deadline_is_let_go(serve: Serve) -> None:
    scenario = ds.Scenario(
        nodes=20, task="digits", network={"kind": "internet"}, devices={"kind": "mix", "phone": 0.5, "gpu": 0.5}
    )
    initial, deadline_s = ds.flower.initial_model(scenario.task, 0, 20), [3600.0]

    def work(grid: Any) -> tuple[list[int], list[int], int]:
        store = grid._executor.trainer.store
        content = RecordDict({"arrays": initial, "config": ConfigRecord({"server-round": 1, "local-epochs": 2})})
        replied, left = [], []
        for _ in range(3):
            messages = [Message(content, node, "train") for node in grid.get_node_ids()]
            replies = list(grid.send_and_receive(messages, timeout=deadline_s[0]))
            replied.append(len(replies))
            left.append(len(grid._open) + sum(map(len, grid._of_node.values())) + grid._app.busy())
        del replies
        sleep(10_000)
        return replied, left, store.in_use

    client_app = ds.flower.TaskClientApp(scenario.task, 0)
    patient, _ = serve(work, client_app, scenario)
    deadline_s[0] = float(patient.messages[patient.messages.kind == "train_reply"].t_delivered_s[:20].median())
    run, (replied, left, rows) = serve(work, client_app, scenario)
    assert 0 < replied[0] < 20
    assert left == [0, 0, 0]
    assert rows == 0
    assert (run.messages.kind == "train_reply").sum() == 60  # delivered all the same, and ignored


# -- failures and refusals ----------------------------------------------------------------------------------------------------


def test_an_exception_in_the_server_app_comes_out_unchanged(serve: Serve, adder: ClientApp) -> None:
    failure = LookupError("mine")

    def work(grid: Grid) -> None:
        sleep(10)
        raise failure

    with pytest.raises(LookupError) as caught:
        serve(work, adder, ds.Scenario(nodes=2))
    assert caught.value is failure


def test_an_exception_in_the_client_app_becomes_flowers_error_reply(serve: Serve) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        raise LookupError("no data here")

    def work(grid: Grid) -> list[Any]:
        return [(m.error.code, m.error.reason) for m in grid.send_and_receive(instructions(grid))]

    run, errors = serve(work, app, ds.Scenario(nodes=2))
    assert errors == [(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "LookupError: no data here")] * 2
    assert run.rounds.n_replied.tolist() == [0]


def test_our_client_app_answers_nonsense_as_it_would_under_flower(serve: Serve) -> None:
    scenario = ds.Scenario(nodes=3, task="digits")
    client_app = ds.flower.TaskClientApp(scenario.task, 0)

    def work(grid: Grid) -> list[Any]:
        empty = Message(RecordDict(), 2, "train")
        other = Message(RecordDict({"arrays": ArrayRecord(MODEL)}), 3, "train")
        unknown = Message(RecordDict({"arrays": ArrayRecord(MODEL)}), 4, "train.fancy")
        return [(m.error.code, m.error.reason) for m in grid.send_and_receive([empty, other, unknown])]

    _, errors = serve(work, client_app, scenario)
    assert [code for code, _ in errors] == [ErrorCode.CLIENT_APP_RAISED_EXCEPTION] * 3
    reasons = " ".join(reason for _, reason in errors)
    assert "0 ArrayRecords" in reasons
    assert "'fancy'" in reasons


@pytest.mark.parametrize("which", ["server", "client"])
def test_the_deprecated_style_is_refused_in_one_line(which: str, adder: ClientApp) -> None:
    server_app, client_app = ServerApp(), adder
    if which == "server":
        server_app = ServerApp(server_fn=lambda context: None)
    else:
        client_app = ClientApp(client_fn=lambda context: None)

        @server_app.main()
        def main(grid: Grid, context: Context) -> None: ...

    with pytest.raises(ds.ScenarioError, match=f"{which}_fn style") as caught:
        ds.flower.run(server_app, client_app, ds.Scenario(nodes=2))
    assert "\n" not in str(caught.value)


def test_a_data_attack_on_an_app_that_loads_its_own_data_is_refused(serve: Serve, adder: ClientApp) -> None:
    with pytest.raises(ds.ScenarioError, match="label_flip") as caught:
        serve(federate(1), adder, ds.Scenario(nodes=4, attack="label_flip"), work_flops=1.0)
    assert "\n" not in str(caught.value)


def test_work_that_cannot_be_counted_must_be_stated(serve: Serve, adder: ClientApp) -> None:
    with pytest.raises(ds.ScenarioError, match="work_flops"):
        serve(federate(1), adder, ds.Scenario(nodes=2))
    run, _ = serve(federate(1), adder, ds.Scenario(nodes=2), work_flops=35.84e9 * 3)
    assert run.rounds.t_s.iloc[0] == pytest.approx(3)


def test_torch_work_is_counted(serve: Serve) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.ones(100, 200) @ torch.ones(200, 300)
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    run, _ = serve(lambda grid: list(grid.send_and_receive(instructions(grid))), app, ds.Scenario(nodes=1))
    assert run.rounds.t_s.iloc[0] == pytest.approx(2 * 100 * 200 * 300 / 35.84e9)


def test_an_update_attack_changes_exactly_the_replies_of_byzantine_nodes(serve: Serve, adder: ClientApp) -> None:
    def work(grid: Grid) -> dict[int, np.ndarray]:
        return {node_of(m): m.content["arrays"]["w"].numpy() for m in grid.send_and_receive(instructions(grid))}

    scenario = ds.Scenario(nodes=10)
    _, honest = serve(work, adder, scenario, work_flops=1.0)
    run, attacked = serve(work, adder, scenario.but(attack={"kind": "sign_flip", "fraction": 0.3, "scale": 4}), work_flops=1.0)
    byzantine = set(run.nodes.node[run.nodes.byzantine])
    start = MODEL["w"].numpy()
    assert len(byzantine) == 3
    for node in range(10):
        expected = start - 4 * (honest[node] - start) if node in byzantine else honest[node]
        np.testing.assert_allclose(attacked[node], expected, rtol=1e-5)
    assert run.rounds.n_byzantine.tolist() == [3]


def test_our_client_app_with_another_task_or_seed_than_the_scenarios_is_refused_in_one_line(serve: Serve) -> None:
    scenario = ds.Scenario(nodes=2, task="digits", seed=4)
    with pytest.raises(ds.ScenarioError, match=r"seed=5.* seed=4") as caught:
        serve(federate(1), ds.flower.TaskClientApp(scenario.task, 5), scenario)
    assert "\n" not in str(caught.value)
    other = scenario.but(task={"kind": "digits", "partition": {"kind": "dirichlet", "alpha": 0.125}}).task
    with pytest.raises(ds.ScenarioError, match=r"0\.125"):
        serve(federate(1), ds.flower.TaskClientApp(other, 4), scenario)


# -- the process the runs live in ---------------------------------------------------------------------------------------------


def globals_now() -> list[Any]:
    named = [time_module.sleep, time_module.time, time_module.monotonic, sleep, time, vars(message_module)["now"]]
    return [*named, vars(message_module)["TaskIdentity"], logging.getLogger("flwr").level]


def test_other_threads_keep_the_real_time_during_a_run() -> None:
    began, done, ticks = threading.Event(), threading.Event(), {"plain": 0, "asyncio": 0}
    failures: list[BaseException] = []

    def plain() -> None:
        while not done.is_set():
            assert time_module.time() > EPOCH - 365 * 86_400
            time_module.monotonic()
            time_module.sleep(0)
            ticks["plain"] += began.is_set()

    async def beat() -> None:
        while not done.is_set():
            await asyncio.sleep(0.001)
            ticks["asyncio"] += began.is_set()

    def kept(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=kept, args=(work,)) for work in (plain, lambda: asyncio.run(beat()))]
    for thread in threads:
        thread.start()
    began.set()
    ds.run(ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 20, "fraction": 1.0}), progress=False)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert min(ticks.values()) > 0


@pytest.mark.parametrize("fails", [False, True])
def test_clocks_and_logger_are_as_before_after_a_run_or_a_failure(serve: Serve, adder: ClientApp, fails: bool) -> None:
    before, during = globals_now(), []

    def work(grid: Grid) -> None:
        during.extend(globals_now())
        sleep(1)
        if fails:
            raise LookupError

    try:
        serve(work, adder, ds.Scenario(nodes=1))
    except LookupError:
        assert fails
    assert all(a is not b for a, b in zip(before[:-1], during[:-1], strict=True))
    assert all(a is b for a, b in zip(before, globals_now(), strict=True))


def test_ctrl_c_while_a_client_works_leaves_a_partial_run_and_no_thread(serve: Serve) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if message.content["config"]["server-round"] == 2:
            raise KeyboardInterrupt
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    run, _ = serve(federate(5), app, ds.Scenario(nodes=2), work_flops=1.0)
    assert (run.complete, len(run.rounds)) == (False, 1)


def test_ctrl_c_while_the_server_app_computes_leaves_a_partial_run_and_no_thread(serve: Serve, adder: ClientApp) -> None:
    unwound = []

    def work(grid: Grid) -> None:
        federate(1)(grid)
        try:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            random.random()
            sleep(1)
        finally:
            unwound.append(True)

    run, _ = serve(work, adder, ds.Scenario(nodes=2), work_flops=1.0)
    assert (run.complete, len(run.rounds), unwound) == (False, 1, [True])


def test_a_stop_event_leaves_a_partial_run_and_no_thread() -> None:
    stop = threading.Event()
    scenario = ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 500, "fraction": 1.0})
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    run = ds.run(scenario, progress=False, stop=stop)
    timer.join()
    assert not run.complete
    assert len(run.rounds) < 500


def drawing(found: list[float]) -> tuple[ServerApp, ClientApp]:
    """Apps that draw from the global generators, as Flower's own sampling does."""
    server_app, client_app = ServerApp(), ClientApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        for _ in range(5):
            found.extend([random.random(), np.random.random(), float(torch.rand(()))])
            replies: Iterable[Message] = grid.send_and_receive(instructions(grid))
            found.extend(m.content["metrics"]["draw"] for m in replies)
            sleep(1)

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        draw = random.random() + np.random.random() + float(torch.rand(()))
        return Message(RecordDict({"metrics": MetricRecord({"draw": draw})}), reply_to=message)

    return server_app, client_app


def draws(seed: int) -> tuple[list[float], str]:
    found: list[float] = []
    run = ds.flower.run(*drawing(found), ds.Scenario(nodes=3, seed=seed), work_flops=1e9)
    return found, run.trace_digest


def test_what_apps_draw_depends_on_the_scenarios_seed_alone() -> None:
    first = draws(1)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    second = draws(1)
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    assert first == second
    assert draws(2)[0] != first[0]
    assert len(set(first[0])) == len(first[0]) == 5 * 6


def test_runs_in_two_threads_do_not_disturb_each_other() -> None:
    expected = [draws(1), draws(2)]
    got: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda seed=seed: got.update({seed: draws(seed)})) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[1], got[2]] == expected


def test_a_run_inside_a_run_does_not_disturb_it(serve: Serve, adder: ClientApp) -> None:
    expected = draws(3)

    def work(grid: Grid) -> list[Any]:
        before = random.getstate()
        return [draws(3), random.getstate() == before]

    assert serve(work, adder, ds.Scenario(nodes=1))[1] == [expected, True]
