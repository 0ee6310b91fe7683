"""Devices: how fast a node computes and how fast its access link can be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams


@dataclass(frozen=True)
class Profile:
    """One kind of device.

    Attributes:
        name: the device's name.
        flops_per_s: sustained single-precision FLOP/s while training a small model.
        upload_bps: the most its access link sends, bits per second; ``inf``: the region decides.
        download_bps: the most its access link receives, bits per second.
        source: where the figures come from.
    """

    name: str
    flops_per_s: float
    upload_bps: float
    download_bps: float
    source: str


# Training a small model in batches of ten keeps arithmetic units mostly idle: a tenth of the peak is our assumption for all.
UTILISATION = 0.1

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "phone",
            flops_per_s=UTILISATION * 4 * 2.4e9 * 16,
            upload_bps=21.08e6,
            download_bps=55.07e6,
            source="peak of 4 cores at 2.4 GHz with 16 FLOP per cycle (two 128-bit fused multiply-add pipes); link: Ookla, "
            "median 5G upload Q3 2021 and mean mobile download July 2021 (Speedtest Global Index)",
        ),
        Profile(
            "laptop",
            flops_per_s=UTILISATION * 4 * 2.8e9 * 32,
            upload_bps=math.inf,
            download_bps=107.5e6,
            source="peak of 4 cores at 2.8 GHz with 32 FLOP per cycle (two 256-bit fused multiply-add pipes); link: Ookla, "
            "mean fixed download July 2021 (Speedtest Global Index)",
        ),
        Profile(
            "gpu",
            flops_per_s=UTILISATION * 3584 * 2 * 1.777e9,
            upload_bps=math.inf,
            download_bps=107.5e6,
            source="NVIDIA GeForce RTX 3060: 3,584 CUDA cores, 2 FLOP per cycle, 1.777 GHz boost; link as for a laptop",
        ),
    )
}


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
        phone, laptop, gpu: shares of the nodes, summing to 1; all zero is not allowed.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> sorted(set(Mix(phone=0.5, laptop=0.5).assign(100, Streams(0)).tolist()))
        ['laptop', 'phone']
    """

    examples = ({"phone": 0.5, "laptop": 0.4, "gpu": 0.1}, {"gpu": 1.0})

    phone: float = Field(default=0.0, ge=0, le=1)
    laptop: float = Field(default=0.0, ge=0, le=1)
    gpu: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.phone + self.laptop + self.gpu
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of phone, laptop and gpu must sum to 1, not {total:g}")
        return self

    def assign(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` device names."""
        import numpy as np

        names = ["phone", "laptop", "gpu"]
        shares = np.array([self.phone, self.laptop, self.gpu])
        return np.array(names)[streams.of("devices").choice(3, size=n, p=shares / shares.sum())]
