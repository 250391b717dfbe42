"""A benchmark on its own: of any endpoint, or of a model in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import unquote, urlsplit

from modelport import data, tracking
from modelport.benchmarking import endpoint
from modelport.benchmarking.endpoint import Address
from modelport.benchmarking.rounds import Loads, best_batch_size
from modelport.reports import Benchmark, Conversion

if TYPE_CHECKING:
    from modelport.manifests import Manifest
    from modelport.render import Stages


class Trial(Protocol):
    """What is measured, and how."""

    @property
    def stages(self) -> Sequence[str]:
        """The stages in which it is done."""
        ...

    def run(self, rows: Any, loads: Loads, stages: Stages) -> Benchmark:
        """Measure every load.

        Args:
            rows: A DataFrame, an array or a list; None takes an example, or makes some.
        """
        ...


@dataclass(frozen=True)
class OfEndpoint:
    """A benchmark of a live endpoint.

    Attributes:
        folder: The served model's, where it is at hand: its input example gives the rows.
    """

    address: Address
    folder: Path | None = None
    stages = ("connect", "measure")

    @classmethod
    def at(cls, url: str, model: str | None, protocol: endpoint.Protocol | None) -> Self:
        """Measure a URL."""
        return cls(Address.parse(url, model, protocol))

    @classmethod
    def of(cls, service: Manifest, url: str, protocol: endpoint.Protocol | None) -> Self:
        """Measure a service that is live at a URL."""
        address = Address(url, service["metadata"]["name"], protocol or "v2")
        stored = service["spec"]["predictor"].get("model", {}).get("storageUri", "")
        folder = Path(unquote(urlsplit(stored).path))
        at_hand = stored.startswith("file:") and (folder / "MLmodel").is_file()
        return cls(address, folder if at_hand else None)

    def run(self, rows: Any, loads: Loads, stages: Stages) -> Benchmark:
        """Measure every load, beside the load generator's own ceiling."""
        stages.begin("connect")
        live = endpoint.Live(self.address, self._example() if rows is None else rows)
        stages.begin("measure")
        measured = endpoint.run(live, loads, stages.say)
        footprint = live.footprint()
        return Benchmark(
            target=live.url,
            protocol=self.address.protocol,
            measurements=measured,
            footprints={"live": footprint} if footprint else {},
            best_batch_size=best_batch_size(measured, "live"),
        )

    def _example(self) -> Any:
        return tracking.input_example(self.folder) if self.folder else None


@dataclass(frozen=True)
class OfModel:
    """A benchmark of a model in this process: native against converted."""

    model: str
    stages = ("resolve", "convert", "measure")

    def run(self, rows: Any, loads: Loads, stages: Stages) -> Benchmark:
        """Fetch the model, convert it as a release does, and measure both."""
        from modelport import release
        from modelport.benchmarking.models import compare
        from modelport.material import Material

        with tempfile.TemporaryDirectory(prefix="modelport-") as name:
            folder = Path(name)
            source, onnx = str(folder / "source"), folder / "model.onnx"
            resolution, conversion = str(folder / "resolution"), str(folder / "conversion")
            given = "" if rows is None else data.save(rows, folder / "data.parquet", None)
            stages.begin("resolve")
            release.resolve(model=self.model, source=source, report=resolution)
            stages.begin("convert")
            release.convert(
                source=source,
                resolution=resolution,
                require_onnx=False,
                onnx=str(onnx),
                report=conversion,
            )
            stages.begin("measure")
            material, done = Material(source, resolution, given), Conversion.read(conversion)
            graph = onnx.read_bytes() if done.converted else None
            found = compare(material.load_native, graph, material.sample, loads, stages.say)
        note = found.note if done.converted else f"there is no converted model: {done.reason}"
        return found.model_copy(update={"target": material.resolved.uri, "note": note})
