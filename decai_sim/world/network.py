"""Networks: what the links between nodes are like."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Lt
from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationInfo, field_validator

from decai_sim.component import Component, field_of, parse
from decai_sim.errors import ScenarioError
from decai_sim.world import access_rates as access_rates
from decai_sim.world import latency as latency
from decai_sim.world import link_rates as link_rates
from decai_sim.world import loss as loss
from decai_sim.world.access_rates import AccessRates
from decai_sim.world.access_rates.base import Direction
from decai_sim.world.latency import Delays, Latency, RegionMatrix
from decai_sim.world.link_rates import Alike, LinkRates, Rates
from decai_sim.world.loss import Bernoulli, Loss
from decai_sim.world.regions import REGIONS, Table

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

Queueing = Literal["uplink", "both", "fair"]
_Six = Literal["NA", "EU", "SA", "AP", "JP", "AU"]
_Aws = Literal["Virginia", "Oregon", "São Paulo", "Frankfurt", "Bahrain", "Cape Town", "Mumbai", "Singapore", "Tokyo", "Sydney"]


class Paths:
    """The links of one world, looked up by end points. Node −1 (index n of the arrays) is the server.

    Attributes:
        regions: ``(n + 1,)`` region names, the server's last.
        upload_bps, download_bps: ``(n + 1,)`` access rates, bits per second, the server's last.
        jitter: mean jitter of a message as a share of its link's latency (exponential); 0: none.
        loss: which messages are lost; None: none is.
        retransmit: how often a lost message is sent again.
        queueing: ``"uplink"``: first in, first out at the sender; ``"both"``: at the receiver too, in order of arrival;
            ``"fair"``: transfers under way share rates, max–min fairly.
        chunk_bytes: messages larger than this travel in chunks; None: whole.
        queue_bytes: what an access queue holds before it drops; ``inf``: everything.
        link_rates: what single links carry; None: as much as their ends.
    """

    def __init__(
        self,
        regions: np.ndarray,
        upload_bps: np.ndarray,
        download_bps: np.ndarray,
        delays: Delays | None = None,
        *,
        jitter: float = 0.0,
        loss: Loss | None = None,
        retransmit: int = 0,
        queueing: Queueing = "uplink",
        chunk_bytes: int | None = None,
        queue_bytes: float = math.inf,
        link_bps: float | Rates = math.inf,
    ) -> None:
        self.regions = regions
        self.upload_bps = upload_bps
        self.download_bps = download_bps
        self.jitter = jitter
        self.loss = loss
        self.retransmit = retransmit
        self.queueing: Queueing = queueing
        self.chunk_bytes = chunk_bytes
        self.queue_bytes = queue_bytes
        self.link_rates: Rates | None = link_bps if isinstance(link_bps, Rates) else None
        if not isinstance(link_bps, Rates) and link_bps < math.inf:
            self.link_rates = Alike(link_bps)
        self._delays = delays

    def move(self, nodes: np.ndarray, to: np.ndarray) -> None:
        """Let ``nodes`` stand where others, ``to``, stand: their regions, and their latencies; ``(k,)`` each.

        Access rates remain their own. Nodes in one place are as near to each other as any two of this network can be, where it
        knows how near that is. What has been sent already, and links that have been prepared, keep the latencies they had.
        """
        from decai_sim.world.latency.moved import Moved

        self.regions = self.regions.copy()
        self.regions[nodes] = self.regions[to]
        if self._delays is not None:
            self._delays = Moved(self._delays, len(self.regions), nodes, to)

    @property
    def instant(self) -> bool:
        """Whether nothing takes any time on the way, whatever its size."""
        import numpy as np

        return self._delays is None and bool(np.isinf(self.upload_bps).all() and np.isinf(self.download_bps).all())

    def base_s(self, src: int, dst: int) -> float:
        """One-way latency of the link between ``src`` and ``dst``, before jitter, seconds: the same in both directions."""
        return 0.0 if self._delays is None else self._delays.base_s(src, dst)

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """:meth:`base_s` of many links at once: ``(k,)`` seconds for ``(k,)`` ends."""
        import numpy as np

        return np.zeros(len(src)) if self._delays is None else self._delays.bases_s(src, dst)

    def least_s(self) -> float:
        """What no link's latency is below, seconds."""
        return 0.0 if self._delays is None else self._delays.least_s()


class Network(Component, family="network"):
    """Base of network models."""

    @property
    def places(self) -> tuple[str, ...] | None:
        """Names of all regions that nodes may be in; None: not known before there is a world."""
        return None

    def check(self, n: int) -> None:
        """Find what does not suit ``n`` nodes, such as a file that cannot be used, before there is a world.

        Raises:
            ScenarioError: one line that begins with ``network.``.
        """

    def paths(self, device_upload_bps: np.ndarray, device_download_bps: np.ndarray, streams: Streams) -> Paths:
        """Lay the links of a world.

        Args:
            device_upload_bps: ``(n,)`` caps set by the nodes' devices, bits per second.
            device_download_bps: ``(n,)`` likewise.
            streams: the run's streams.

        Raises:
            ScenarioError: the network does not fit the nodes, or a file of it cannot be used.
        """
        raise NotImplementedError


class Ideal(Network):
    """Every message arrives at once: no latency, no loss, no limit on rates.

    Source: the assumption of federated learning simulators without a network model.
    Assumes: nothing is ever lost or late; only computing takes virtual time.
    Deviations: none.

    Example:
        >>> Ideal().to_config()
        {'kind': 'ideal'}
    """

    @property
    def places(self) -> tuple[str, ...]:
        """There is one."""
        return ("-",)

    def paths(self, device_upload_bps: np.ndarray, device_download_bps: np.ndarray, streams: Streams) -> Paths:
        """Paths without delay."""
        import numpy as np

        n = len(device_upload_bps)
        return Paths(np.full(n + 1, "-"), np.full(n + 1, math.inf), np.full(n + 1, math.inf))


_RATE: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)])


def _loss(value: Any) -> float | Loss:
    made = parse("loss", value)
    return made if isinstance(made, Loss) else _RATE.validate_python(made)


LossField = Annotated[
    float | Loss,
    *(Ge(0), Lt(1)),  # for widgets: what checks the number is _loss
    PlainValidator(_loss),
    PlainSerializer(lambda value: value.to_config() if isinstance(value, Loss) else value, return_type=Any),
]
"""A loss rate, or a model of the loss family in any of the forms that ``parse`` takes."""


_BPS: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(gt=0, allow_inf_nan=False)])


def _link_bps(value: Any) -> float | LinkRates | None:
    if value is None:
        return None
    made = parse("link_rates", value)
    return made if isinstance(made, LinkRates) else _BPS.validate_python(made)


LinkRatesField = Annotated[
    float | LinkRates | None,
    Gt(0),  # for widgets: what checks the number is _link_bps
    PlainValidator(_link_bps),
    PlainSerializer(lambda value: value.to_config() if isinstance(value, LinkRates) else value, return_type=Any),
]
"""One capacity for all links, or a model of the link_rates family in any of the forms that ``parse`` takes."""


_EACH: TypeAdapter[tuple[float, ...]] = TypeAdapter(tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...])


def _rates(value: Any) -> float | tuple[float, ...] | AccessRates | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return _EACH.validate_python(tuple(value))
    made = parse("access_rates", value)
    return made if isinstance(made, AccessRates) else _BPS.validate_python(made)


RatesField = Annotated[
    float | tuple[float, ...] | AccessRates | None,
    Gt(0),  # for widgets: what checks the number is _rates
    PlainValidator(_rates),
    PlainSerializer(lambda value: value.to_config() if isinstance(value, AccessRates) else value, return_type=Any),
]
"""One rate for all nodes, or each node's, bits per second; or a model of the access_rates family, as ``parse`` takes it."""


class Internet(Network):
    """Nodes spread over world regions: measured latencies and access rates between them.

    A link has a latency of its own, drawn once and kept (by default around what was measured between its regions), plus an
    exponential jitter for every message. Rates are those of the region, capped by the node's device.

    Source: SimBlock (Aoki et al., arXiv:1901.09777), regional tables and Pareto rule; persistence per link after the finding of
    go-f3 issue 212 that redrawing latency for every message distorts protocols.
    Assumes: rates are a property of a node's access link; the core of the network is never the bottleneck, unless ``link_bps``
    says so.
    Deviations: SimBlock uses the matrix one-way and redraws per message, see :class:`RegionMatrix`. The table ``aws`` has no
    shares and no rates: nodes are spread evenly over its regions, and their devices alone limit them. Most devices cap downloads
    only (a laptop's uploads are left to the region), so that on ``aws`` such nodes upload to many at once, to each as fast as it
    downloads, unless ``upload_bps`` says otherwise.

    Attributes:
        regions: which table says where nodes are: ``bitcoin-2019``, ``bitcoin-2015`` or ``aws``.
        upload_bps: one upload rate for all nodes, or a list of each node's, bits per second, or a model of the access_rates
            family; None: by region and device; give one on the table ``aws``.
        download_bps: likewise for download.
        jitter: mean jitter as a share of the link's latency; above 0, since no real path repeats itself exactly.
        loss: probability that a message never arrives, or a model of the loss family.
        server_region: the server's region; None: EU, or Frankfurt on the table ``aws``.
        server_bps: the server's rate in both directions, bits per second.
        latency: how long the way is between two nodes; None: as the table of ``regions`` has it.
        queueing: where messages wait for their turn: at the sender (``uplink``), at the receiver too (``both``), or nowhere, all
            transfers under way sharing the rates max–min fairly (``fair``).
        chunk_bytes: larger messages travel in chunks of this size; None: whole. Not with ``fair``.
        retransmit: how often a lost message is sent again.
        queue_bytes: what an access queue holds before it drops messages; None: everything. Not with ``fair``.
        link_bps: what a link carries in each direction, bits per second, its messages one after the other (with ``fair``, side
            by side); or a model of the link_rates family, which gives every link a capacity of its own. None: the ends decide.

    Example:
        >>> import numpy as np
        >>> from decai_sim.seeding import Streams
        >>> caps = np.full(5, np.inf)
        >>> paths = Internet(upload_bps=10e6).paths(caps, caps, Streams(1))
        >>> 0 < paths.base_s(0, -1) < 1, float(paths.upload_bps[0])
        (True, 10000000.0)
    """

    examples = (
        {},
        {"regions": "bitcoin-2015", "loss": {"kind": "gilbert_elliott"}, "retransmit": 3, "queueing": "both", "queue_bytes": 1e6},
        {"regions": "aws", "loss": 0.01, "link_bps": 1e9, "queueing": "fair"},
        {"latency": {"kind": "lognormal", "sigma": 0.8}, "jitter": 0.2, "chunk_bytes": 65536},
        {"link_bps": {"kind": "lognormal", "median_bps": 5e6, "sigma": 1.0}},
        {"upload_bps": {"kind": "lognormal", "median_bps": 5e6}, "download_bps": 2e7},
    )

    regions: Table = "bitcoin-2019"
    upload_bps: RatesField = None
    download_bps: RatesField = None
    jitter: float = Field(default=0.1, gt=0, le=10)
    loss: LossField = Field(default=0.0)
    server_region: Literal[_Six, _Aws] | None = None
    server_bps: float = Field(default=1e9, gt=0)
    latency: field_of(Latency) | None = None  # type: ignore[valid-type]
    queueing: Queueing = "uplink"
    chunk_bytes: int | None = Field(default=None, ge=1)
    retransmit: int = Field(default=0, ge=0)
    queue_bytes: float | None = Field(default=None, gt=0)
    link_bps: LinkRatesField = None

    @field_validator("server_region")
    @classmethod
    def _on_the_table(cls, region: str | None, info: ValidationInfo) -> str | None:
        table = info.data.get("regions")  # absent if it is wrong itself
        if region is not None and table is not None and region not in REGIONS[table].names:
            raise ValueError(f"on the table {table!r} it should be one of {', '.join(REGIONS[table].names)}")
        return region

    @field_validator("chunk_bytes", "queue_bytes")
    @classmethod
    def _where_messages_queue(cls, given: float | None, info: ValidationInfo) -> float | None:
        if given is not None and info.data.get("queueing") == "fair":
            raise ValueError("with queueing 'fair' nothing queues: leave it out, or choose queueing 'uplink' or 'both'")
        return given

    @field_validator("latency")
    @classmethod
    def _knows_the_regions(cls, latency: Latency | None, info: ValidationInfo) -> Latency | None:
        table = info.data.get("regions")
        if latency is not None and table is not None:
            reason = latency.misfit(REGIONS[table].names)
            if reason:
                raise ValueError(reason)
        return latency

    @property
    def places(self) -> tuple[str, ...]:
        """Those of the table."""
        return REGIONS[self.regions].names

    def check(self, n: int) -> None:
        if self.latency is not None:
            self.latency.check(n, REGIONS[self.regions].names)
        if isinstance(self.link_bps, LinkRates):
            self.link_bps.check(n)
        for name in get_args(Direction):
            rates = getattr(self, name)
            if isinstance(rates, AccessRates):
                rates.check(n, name)
            if isinstance(rates, tuple) and len(rates) != n:
                raise ScenarioError(f"network.{name}: {len(rates)} rates are not allowed for {n} nodes: give one each")

    def paths(self, device_upload_bps: np.ndarray, device_download_bps: np.ndarray, streams: Streams) -> Paths:
        """Paths with latencies and rates by region."""
        import numpy as np

        table = REGIONS[self.regions]
        share = np.array(table.share)
        n = len(device_upload_bps)
        region = streams.of("regions").choice(len(share), size=n, p=share / share.sum())
        server = table.names.index(self.server_region or table.server)
        names = np.array(table.names)[np.append(region, server)]

        self.check(n)

        def rates(direction: Direction, by_region_mbps: tuple[float, ...] | None, by_device: np.ndarray) -> np.ndarray:
            fixed: float | tuple[float, ...] | AccessRates | None = getattr(self, direction)
            if isinstance(fixed, AccessRates):
                of_nodes = fixed.of(n, direction, streams)
            elif fixed:
                of_nodes = np.broadcast_to(np.asarray(fixed, dtype=float), n)
            elif by_region_mbps is None:
                of_nodes = by_device
            else:
                of_nodes = np.minimum(np.array(by_region_mbps)[region] * 1e6, by_device)
            return np.append(of_nodes, self.server_bps)

        model = self.latency or RegionMatrix(table=self.regions)
        return Paths(
            names,
            rates("upload_bps", table.upload_mbps, device_upload_bps),
            rates("download_bps", table.download_mbps, device_download_bps),
            model.links(names, streams),
            jitter=self.jitter,
            loss=self.loss if isinstance(self.loss, Loss) else Bernoulli(p=self.loss) if self.loss else None,
            retransmit=self.retransmit,
            queueing=self.queueing,
            chunk_bytes=self.chunk_bytes,
            queue_bytes=math.inf if self.queue_bytes is None else self.queue_bytes,
            link_bps=self._link_rates(n, streams),
        )

    def _link_rates(self, n: int, streams: Streams) -> float | Rates:
        if isinstance(self.link_bps, LinkRates):
            return self.link_bps.links(n, streams)
        return math.inf if self.link_bps is None else self.link_bps
