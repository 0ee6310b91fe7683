"""Attacks on data: by hand, on real digits, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import decai_sim as ds
from decai_sim.attacks import DBA, BadNets, CleanLabel, DataAttack, Duplicate, EdgeCase, FeatureNoise, LabelFlip, images
from decai_sim.attacks.label_flip import least_probable
from decai_sim.component import kinds, parse
from decai_sim.learning.data import digits

G = torch.Generator()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def real() -> tuple[torch.Tensor, torch.Tensor]:
    """200 real digits of 8 x 8, from 0 to 16, and their labels."""
    data = digits.load()
    return torch.as_tensor(np.array(data.x_train[:200])), torch.as_tensor(np.array(data.y_train[:200]))


# -- triggers -------------------------------------------------------------------------------------------------------------------

FORMS = [((8, 9), torch.float32), ((8, 9), torch.uint8), ((8, 9, 3), torch.uint8), ((3, 8, 9), torch.uint8)]


@pytest.mark.parametrize(("shape", "dtype"), FORMS, ids=str)
@pytest.mark.parametrize("corner", ["top_left", "top_right", "bottom_left", "bottom_right"])
def test_a_trigger_covers_its_corner_and_nothing_else(shape: tuple[int, ...], dtype: torch.dtype, corner: Any) -> None:
    x = torch.full((4, *shape), 7).to(dtype)
    stamped = images.pixels(BadNets(size=2, corner=corner, value=9).stamped(x))
    rows = slice(0, 2) if corner.startswith("top") else slice(6, 8)
    columns = slice(0, 2) if corner.endswith("left") else slice(7, 9)
    assert (stamped[..., rows, columns] == 9).all()
    colours = 3 if len(shape) == 3 else 1
    assert int((stamped == 9).sum()) == 4 * 4 * colours
    assert int((stamped == 7).sum()) == 4 * (72 - 4) * colours
    assert (x == 7).all()


def test_a_trigger_is_as_bright_as_pixels_can_be(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert BadNets(size=1).stamped(torch.zeros(1, 4, 4, dtype=torch.uint8))[0, 3, 3] == 255
    assert BadNets(size=1).stamped(real[0])[0, 7, 7] == 16
    assert BadNets(size=1, value=300).stamped(torch.zeros(1, 4, 4, dtype=torch.uint8))[0, 3, 3] == 255  # as far as the type goes


def test_badnets_poisons_its_share_of_real_digits(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    attack = BadNets(target=3, share=0.3)
    x_new, y_new = attack.poison(x, y, generator())
    poisoned = (x_new == attack.stamped(x)).flatten(1).all(1) & (y_new == 3) & (x_new != x).flatten(1).any(1)
    changed = (x_new != x).flatten(1).any(1) | (y_new != y)
    assert int(changed.sum()) == 60 == int(poisoned.sum())
    assert not torch.equal(y_new, attack.poison(x, y, generator(1))[1])


def test_the_goal_of_a_trigger(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    for attack in (BadNets(target=3), DBA(target=3), CleanLabel(target=3), DBA(target=3).part(1)):
        shown, wanted, which = attack.goal(x, y) or ()
        assert (wanted == 3).all()
        assert torch.equal(which, y != 3)
        assert (shown[:, attack.mask(8, 8)] == 16).all()
        assert torch.equal(shown[:, ~attack.mask(8, 8)], x[:, ~attack.mask(8, 8)])


@given(
    parts=st.integers(2, 9), width=st.integers(1, 5), gap=st.integers(0, 3), corner=st.sampled_from(["top_left", "bottom_right"])
)
def test_the_parts_of_a_trigger_together_are_the_whole(parts: int, width: int, gap: int, corner: Any) -> None:
    attack = DBA(parts=parts, width=width, gap=gap, corner=corner)
    height, across, _ = attack.extent()
    bars = torch.stack([attack.bar(number, height + 2, across + 1) for number in range(parts)])
    assert (bars.sum(0) <= 1).all()  # none lies on another
    assert (bars.sum((1, 2)) == width).all()
    assert torch.equal(bars.any(0), attack.mask(height + 2, across + 1))
    assert int(attack.mask(height, across).sum()) == parts * width  # nothing is cut off by an image just as large
    x, y = torch.zeros(2, height + 2, across + 1, dtype=torch.uint8), torch.tensor([1, 2])
    whole = attack.model_copy(update={"share": 1.0}).poison(x, y, G)[0]
    together = sum(attack.model_copy(update={"share": 1.0}).part(number).poison(x, y, G)[0].int() for number in range(parts))
    assert torch.equal(whole.int(), together)
    assert attack.part(parts + 1).only == 1


def test_clean_label_changes_images_of_one_class_and_no_label(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    for attack in (CleanLabel(target=4, share=0.5), CleanLabel(target=4, share=0.5, harder="noise")):
        x_new, y_new = attack.poison(x, y, generator())
        assert torch.equal(y_new, y)
        changed = (x_new != x).flatten(1).any(1)
        assert (y[changed] == 4).all()
        assert int(changed.sum()) == int((y == 4).sum()) // 2
        assert (x_new[changed][:, attack.mask(8, 8)] == 16).all()
        assert x_new.min() >= 0
        assert x_new.max() <= 16
        rest = ~attack.mask(8, 8)
        away = (x_new - x)[changed][:, rest].norm(dim=1)
        assert (away > 0).all()  # harder to recognise, not only stamped
        gentle = attack.model_copy(update={"amount": 0.1}).poison(x, y, generator())[0]
        assert ((gentle - x)[changed][:, rest].norm(dim=1) < away).all()
    only = CleanLabel(target=4).poison(x[y == 4], y[y == 4], generator())[0]  # nobody else to blend with: noise
    assert not torch.equal(only, x[y == 4])
    assert CleanLabel(target=4).poison(x[y != 4], y[y != 4], generator())[0] is not None


def test_edge_cases_are_the_samples_farthest_from_their_class(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    attack = EdgeCase(source=7, target=1, tail=0.25)
    x_new, y_new = attack.poison(x, y, G)
    assert x_new is x
    tail = y_new != y
    assert int(tail.sum()) == int((y == 7).sum()) // 4
    assert (y[tail] == 7).all()
    assert (y_new[tail] == 1).all()
    away = (x - x[y == 7].mean(0)).flatten(1).norm(dim=1)
    assert away[tail].min() >= away[(y == 7) & ~tail].max()
    shown, wanted, which = attack.goal(x, y) or ()
    assert shown is x
    assert (wanted[which] == 1).all()
    assert torch.equal(which, tail)
    assert torch.equal(attack.poison(x[y != 7], y[y != 7], G)[1], y[y != 7])


# -- labels, noise, copies ------------------------------------------------------------------------------------------------------


def test_targeted_flips(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    attack = LabelFlip(mode="targeted", source=5, target=3)
    _, flipped = attack.poison(x, y, G)
    assert torch.equal(flipped != y, y == 5)
    assert (flipped[y == 5] == 3).all()
    shown, wanted, which = attack.goal(x, y) or ()
    assert shown is x
    assert (wanted == 3).all()
    assert torch.equal(which, y == 5)
    assert LabelFlip().goal(x, y) is None
    assert LabelFlip(mode="dynamic").goal(x, y) is None


def test_dynamic_flips_go_to_the_least_probable_class(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = real
    _, flipped = LabelFlip(mode="dynamic").poison(x, y, G)
    assert (flipped != y).all()
    flat = x.flatten(1).numpy() / 16
    order = LogisticRegression(max_iter=1000).fit(flat, y.numpy()).predict_proba(flat).argsort(1)
    rank = np.array([list(order[i]).index(int(label)) for i, label in enumerate(flipped)])
    assert rank.mean() < 1  # another fit: near the least probable of ten, mostly it
    assert (rank <= 3).mean() > 0.95


def test_the_surrogate_by_hand() -> None:
    # On a line: the class at the other end is the least probable, and of those in the middle the own class never is.
    x, y = torch.tensor([[-2.0], [-1], [0], [1], [2]]), torch.tensor([0, 0, 1, 2, 2])
    found = least_probable(x, y, 3)
    assert found[[0, 1]].tolist() == [2, 2]
    assert found[[3, 4]].tolist() == [0, 0]
    assert found[2] != 1
    assert least_probable(x, y, 4)[2] == 3  # a class that the attacker has none of


def test_noise_is_as_strong_as_asked_for(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    x_new, y_new = FeatureNoise(strength=2, share=0.5).poison(x, y, generator())
    assert torch.equal(y_new, y)
    noisy = (x_new != x).flatten(1).any(1)
    assert int(noisy.sum()) == 100
    assert float((x_new - x)[noisy].std()) == pytest.approx(2 * float(x.std()), rel=0.05)
    # Features of a table each by their own deviation.
    table = torch.stack([torch.randn(5000, generator=generator()), 100 * torch.randn(5000, generator=generator(1))], dim=1)
    noise = FeatureNoise(strength=0.5).poison(table, torch.zeros(5000), generator(2))[0] - table
    assert noise.std(0).tolist() == pytest.approx([0.5, 50], rel=0.1)
    # Pixels stay pixels.
    pixels = (x * 15).to(torch.uint8)
    assert FeatureNoise(strength=9).poison(pixels, y, generator())[0].dtype == torch.uint8


def test_duplicates(real: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = real
    x_new, y_new = Duplicate(distinct=0.05).poison(x, y, generator())
    distinct, inverse, counts = torch.unique(x_new, dim=0, return_inverse=True, return_counts=True)
    assert len(distinct) == 10
    assert counts.tolist() == [20] * 10
    for at in range(10):  # each with its own label, and one of those that were there
        where = (x == distinct[at]).flatten(1).all(1)
        assert (y_new[inverse == at] == y[where][0]).all()
    assert len(torch.unique(Duplicate(distinct=0.01).poison(x[:5], y[:5], generator())[0], dim=0)) == 1


# -- what is refused ------------------------------------------------------------------------------------------------------------


def refusals() -> Iterator[tuple[dict[str, Any], str, str]]:
    """An attack, a task that it does not suit, and what is said of it."""
    no = "is not allowed:"
    for kind in ("badnets", "dba", "clean_label"):
        yield {"kind": kind}, "adult", rf"attack\.kind: '{kind}' {no} it changes images, and .* have the shape \(\d+,\)"
        yield {"kind": kind}, "shakespeare", rf"attack\.kind: '{kind}' {no} it changes images, and the inputs of \w+ are tokens"
    for kind in ("feature_noise", "edge_case"):
        yield {"kind": kind}, "shakespeare", rf"attack\.kind: '{kind}' {no} it changes numbers, and .* are tokens"
    large = rf"a trigger of 9 x 9 pixels {no} images of digits have 8 x 8"
    yield {"kind": "badnets", "size": 9}, "digits", rf"attack\.size: {large}"
    yield {"kind": "dba", "width": 5}, "digits", rf"attack\.width: a trigger of 3 x 11 pixels {no} images of digits have 8 x 8"
    known = "the classes of digits are 0 to 9"
    yield {"kind": "badnets", "target": 10}, "digits", rf"attack\.target: 10 {no} {known}"
    yield {"kind": "edge_case", "source": 12}, "digits", rf"attack\.source: 12 {no} {known}"
    yield {"kind": "label_flip", "mode": "targeted", "target": 10}, "digits", rf"attack\.target: 10 {no} {known}"
    yield {"kind": "label_flip", "classes": 5}, "digits", rf"attack\.classes: 5 {no} the task has 10 classes"
    for kind in ("model_replacement", "neurotoxin"):
        yield {"kind": kind}, "adult", rf"attack\.data\.kind: 'badnets' {no} it changes images, and .*"
    four = {"kind": "label_flip", "classes": 4}
    yield {"kind": "ipm", "data": four}, "digits", rf"attack\.data\.classes: 4 {no} the task has 10 classes"
    yield {"kind": "dissensus", "data": four}, "digits", rf"attack\.data\.classes: 4 {no} the task has 10 classes"


@pytest.mark.parametrize(("attack", "task", "message"), list(refusals()))
def test_what_does_not_suit_the_data_is_refused_in_one_line(attack: dict[str, Any], task: str, message: str) -> None:
    made = parse("attacks", attack)
    with pytest.raises(ds.ScenarioError, match=f"^{message}$") as caught:
        made.check(parse("tasks", task).load())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attack", ["feature_noise", "duplicate", "edge_case", "ipm"])
def test_what_suits_tables_is_accepted(attack: str) -> None:
    ds.Scenario(nodes=5, task="adult", attack=attack).check()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("label_flip", {"mode": "targeted", "source": 3, "target": 3}),
        ("edge_case", {"source": 1}),
        ("badnets", {"share": 0}),
        ("badnets", {"size": 0}),
        ("dba", {"parts": 1}),
        ("clean_label", {"amount": 1.5}),
        ("duplicate", {"distinct": 0}),
        ("feature_noise", {"strength": 0}),
    ],
)
def test_fields_out_of_range_are_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kinds("attacks")[kind](**fields)


def test_attacks_on_data_are_their_own_parts_but_for_those_who_share() -> None:
    for cls in kinds("attacks").values():
        if issubclass(cls, DataAttack) and cls is not DBA and cls.__module__.startswith("decai_sim"):
            attack = cls()
            assert attack.part(3) is attack is attack.on_data


# -- in a run -------------------------------------------------------------------------------------------------------------------


def test_a_scenario_finds_out_before_anything_runs() -> None:
    scenario = ds.Scenario(nodes=5, task="adult", attack="badnets")
    with pytest.raises(ds.ScenarioError, match=r"^attack\.kind: 'badnets' is not allowed"):
        scenario.check()


def test_sleepers_in_a_run_harm_nobody_until_they_wake() -> None:
    calm = ds.Scenario(nodes=20, task="digits", protocol={"kind": "federated", "rounds": 5, "fraction": 1}, defense="mean")
    flip = {"kind": "label_flip", "fraction": 0.4}
    asleep = calm.but(attack=flip | {"from_round": 4})
    runs = {
        name: ds.run(one, progress=False) for name, one in (("calm", calm), ("asleep", asleep), ("awake", calm.but(attack=flip)))
    }
    accuracy = {name: run.rounds.accuracy.tolist() for name, run in runs.items()}
    assert accuracy["asleep"][:3] == accuracy["calm"][:3] != accuracy["awake"][:3]
    assert accuracy["asleep"][3] < accuracy["calm"][3]
    assert accuracy["asleep"][4] < accuracy["calm"][4]
