"""Devices: how fast a node computes and how fast its access link can be."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from decai_sim.seeding import Streams


@dataclass(frozen=True)
class Profile:
    """One kind of device.

    Attributes:
        name: the device's name.
        flops_per_s: sustained single-precision FLOP/s while training a small model.
        memory_bytes: memory of the processor that trains, bytes.
        upload_bps: the most its access link sends, bits per second; ``inf``: the region decides.
        download_bps: the most its access link receives, bits per second.
        watts: electrical power while it computes.
        watts_idle: electrical power while it waits.
        usd_per_hour: what an hour of it is rented for, US dollars; 0 where it is owned.
        availability: share of the time it is typically online. For comparison: who is online when is the churn's to say.
        source: where the figures come from, and which of them are assumptions.
    """

    name: str
    flops_per_s: float
    memory_bytes: float
    upload_bps: float
    download_bps: float
    watts: float
    watts_idle: float
    usd_per_hour: float
    availability: float
    source: str


# Training a small model in batches of ten keeps arithmetic units mostly idle: a tenth of the peak is our assumption for all.
UTILISATION = 0.1

_GIB = 2**30
_HOME_BPS = 107.5e6
_OOKLA = "Ookla, mean fixed download July 2021 (Speedtest Global Index)"

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "phone",
            flops_per_s=UTILISATION * 4 * 2.4e9 * 16,
            memory_bytes=8 * _GIB,
            upload_bps=21.08e6,
            download_bps=55.07e6,
            watts=4.0,
            watts_idle=0.5,
            usd_per_hour=0.0,
            availability=0.3,
            source="peak of 4 cores at 2.4 GHz with 16 FLOP per cycle (two 128-bit fused multiply-add pipes); link: Ookla, "
            "median 5G upload Q3 2021 and mean mobile download July 2021 (Speedtest Global Index); memory, power and "
            "availability are assumptions",
        ),
        Profile(
            "laptop",
            flops_per_s=UTILISATION * 4 * 2.8e9 * 32,
            memory_bytes=16 * _GIB,
            upload_bps=math.inf,
            download_bps=_HOME_BPS,
            watts=45.0,
            watts_idle=8.0,
            usd_per_hour=0.0,
            availability=0.4,
            source="peak of 4 cores at 2.8 GHz with 32 FLOP per cycle (two 256-bit fused multiply-add pipes); link: "
            f"{_OOKLA}; memory, power and availability are assumptions",
        ),
        Profile(
            "gpu",
            flops_per_s=UTILISATION * 3584 * 2 * 1.777e9,
            memory_bytes=12 * _GIB,
            upload_bps=math.inf,
            download_bps=_HOME_BPS,
            watts=170.0,
            watts_idle=15.0,
            usd_per_hour=0.0,
            availability=0.5,
            source="NVIDIA GeForce RTX 3060: 3,584 CUDA cores, 2 FLOP per cycle, 1.777 GHz boost, 12 GB, 170 W for the card "
            "alone; link as for a laptop; idle power and availability are assumptions",
        ),
        Profile(
            "raspberry_pi",
            flops_per_s=UTILISATION * 4 * 1.5e9 * 8,
            memory_bytes=4 * _GIB,
            upload_bps=math.inf,
            download_bps=_HOME_BPS,
            watts=5.4,
            watts_idle=2.2,
            usd_per_hour=0.0,
            availability=0.95,
            source="Raspberry Pi 4 Model B: 4 Cortex-A72 cores at 1.5 GHz, the 4 GB variant; power measured at the USB supply, "
            "under high load and idle (chipwired.com, Raspberry Pi power use); link as for a laptop; 8 FLOP per cycle (one "
            "128-bit fused multiply-add) and availability are assumptions",
        ),
        Profile(
            "workstation",
            flops_per_s=UTILISATION * 16_384 * 2 * 2.52e9,
            memory_bytes=24 * _GIB,
            upload_bps=math.inf,
            download_bps=1e9,
            watts=450.0,
            watts_idle=25.0,
            usd_per_hour=0.0,
            availability=0.8,
            source="NVIDIA GeForce RTX 4090: 16,384 CUDA cores, 2 FLOP per cycle, 2.52 GHz boost, 24 GB, 450 W for the card "
            "alone; link (1 Gbps down), idle power and availability are assumptions",
        ),
        Profile(
            "cloud_gpu",
            flops_per_s=UTILISATION * 19.5e12,
            memory_bytes=40 * _GIB,
            upload_bps=10e9,
            download_bps=10e9,
            watts=400.0,
            watts_idle=50.0,
            usd_per_hour=32.77 / 8,
            availability=0.995,
            source="one of the eight NVIDIA A100 40 GB (SXM) of an Amazon EC2 p4d.24xlarge: 19.5 TFLOP/s single precision, "
            "400 W; $32.77 an hour for the eight, list price on demand (US East, 2024); availability: the 99.5 % "
            "of EC2's service level for one instance; link and idle power are assumptions",
        ),
        Profile(
            "server",
            flops_per_s=UTILISATION * 64 * 2.45e9 * 32,
            memory_bytes=256 * _GIB,
            upload_bps=1e9,
            download_bps=1e9,
            watts=280.0,
            watts_idle=90.0,
            usd_per_hour=0.0,
            availability=0.995,
            source="AMD EPYC 7763: 64 cores at 2.45 GHz, 280 W for the processor alone, with 32 FLOP per cycle (two 256-bit "
            "fused multiply-add pipes); memory, link (1 Gbps), idle power and availability are assumptions",
        ),
    )
}
"""What is known of each kind of device, by name."""


def profiles_table() -> pd.DataFrame:
    """All profiles, one a row.

    Returns:
        A frame with the columns of :class:`Profile`, units in their names.

    Example:
        >>> profiles_table().set_index("name").loc["gpu", ["watts", "usd_per_hour"]].tolist()
        [170.0, 0.0]
    """
    import pandas as pd

    return pd.DataFrame([asdict(profile) for profile in PROFILES.values()])


class Devices(Component, family="devices"):
    """Base of device models: which profile each node has."""

    def assign(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` device names."""
        raise NotImplementedError


class Mix(Devices):
    """Devices drawn independently with given shares.

    Source: :data:`PROFILES`, each with its own.
    Assumes: a device's kind is independent of its region, its data and its churn.
    Deviations: none.

    Attributes:
        phone, laptop, gpu, raspberry_pi, workstation, cloud_gpu, server: shares of the nodes, summing to 1.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> sorted(set(Mix(phone=0.5, laptop=0.5).assign(100, Streams(0)).tolist()))
        ['laptop', 'phone']
    """

    examples = ({"phone": 0.5, "laptop": 0.4, "gpu": 0.1}, {"gpu": 1.0}, {"raspberry_pi": 0.7, "workstation": 0.2, "server": 0.1})

    phone: float = Field(default=0.0, ge=0, le=1)
    laptop: float = Field(default=0.0, ge=0, le=1)
    gpu: float = Field(default=0.0, ge=0, le=1)
    raspberry_pi: float = Field(default=0.0, ge=0, le=1)
    workstation: float = Field(default=0.0, ge=0, le=1)
    cloud_gpu: float = Field(default=0.0, ge=0, le=1)
    server: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = sum(self._shares().values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of {', '.join(self._shares())} must sum to 1, not {total:g}")
        return self

    def _shares(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in Mix.model_fields}

    def assign(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` device names."""
        import numpy as np

        names, shares = list(self._shares()), np.array(list(self._shares().values()))
        return np.array(names)[streams.of("devices").choice(len(names), size=n, p=shares / shares.sum())]
