"""Devices: figures, and who gets which."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from decai_sim.seeding import Streams
from decai_sim.world.devices import PROFILES, UTILISATION, Mix, Profile, profiles_table


def test_the_figures_that_results_rest_on_stay() -> None:
    assert {name: PROFILES[name].flops_per_s for name in ("phone", "laptop", "gpu")} == {
        "phone": 0.1 * 4 * 2.4e9 * 16,
        "laptop": 0.1 * 4 * 2.8e9 * 32,
        "gpu": 0.1 * 3584 * 2 * 1.777e9,
    }
    assert (PROFILES["phone"].upload_bps, PROFILES["phone"].download_bps) == (21.08e6, 55.07e6)
    for name in ("laptop", "gpu"):
        assert (PROFILES[name].upload_bps, PROFILES[name].download_bps) == (math.inf, 107.5e6)


def test_the_new_ones_are_what_their_makers_say() -> None:
    # Peak single precision, TFLOP/s: RTX 4090 82.6, A100 19.5 (NVIDIA data sheets).
    assert PROFILES["workstation"].flops_per_s / UTILISATION == pytest.approx(82.6e12, rel=1e-3)
    assert PROFILES["cloud_gpu"].flops_per_s / UTILISATION == 19.5e12
    assert PROFILES["cloud_gpu"].usd_per_hour == pytest.approx(4.10, abs=0.005)
    slowest_first = ["raspberry_pi", "phone", "laptop", "server", "gpu", "cloud_gpu", "workstation"]
    assert sorted(PROFILES, key=lambda name: PROFILES[name].flops_per_s) == slowest_first


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_profile_is_whole_and_says_what_is_assumed(profile: Profile) -> None:
    assert 0 < profile.watts_idle < profile.watts
    assert profile.memory_bytes >= 2**30
    assert profile.usd_per_hour >= 0
    assert 0 < profile.availability < 1
    assert min(profile.flops_per_s, profile.upload_bps, profile.download_bps) > 0
    assert "assumption" in profile.source
    assert PROFILES[profile.name] is profile


def test_the_table_has_every_profile_and_every_figure() -> None:
    table = profiles_table()
    assert table["name"].tolist() == list(PROFILES)
    assert list(table.columns) == [field.name for field in dataclasses.fields(Profile)]
    assert table.set_index("name").loc["gpu", "memory_bytes"] == 12 * 2**30


def test_a_mix_can_hold_every_profile_and_nothing_else() -> None:
    assert list(Mix.model_fields) == list(PROFILES)


@given(phone=st.floats(0, 1), of_rest=st.floats(0, 1), seed=st.integers(0, 50))
def test_old_mixes_are_drawn_as_before_there_were_more_kinds(phone: float, of_rest: float, seed: int) -> None:
    laptop = (1 - phone) * of_rest
    shares = np.array([phone, laptop, 1 - phone - laptop]).clip(0, 1)
    before = np.array(["phone", "laptop", "gpu"])[Streams(seed).of("devices").choice(3, size=200, p=shares / shares.sum())]
    mix = Mix(phone=shares[0], laptop=shares[1], gpu=shares[2])
    assert mix.assign(200, Streams(seed)).tolist() == before.tolist()


def test_shares_are_kept() -> None:
    mix = {"phone": 0.3, "raspberry_pi": 0.2, "workstation": 0.1, "cloud_gpu": 0.15, "server": 0.25}
    names = Mix(**mix).assign(20_000, Streams(1)).tolist()
    assert set(names) == set(mix)
    assert stats.chisquare([names.count(name) for name in mix], [20_000 * share for share in mix.values()]).pvalue > 0.01


def test_shares_that_are_no_whole_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"shares of phone, .*, cloud_gpu, server must sum to 1, not 1\.1"):
        Mix(phone=0.6, server=0.5)
    with pytest.raises(ValidationError, match="must sum to 1, not 0"):
        Mix()
