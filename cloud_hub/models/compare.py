"""What differs between two models: figures on the same data side by side, and what an agent would notice of a swap."""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from cloud_hub.models.registry import Model


class Line(Struct, frozen=True):
    """One thing about two models; `change` is the second's figure minus the first's, None where there is none."""

    what: str
    first: str | float | None
    second: str | float | None
    change: float | None = None


def compare(first: Model, second: Model) -> list[Line]:
    """Figures first, then the rest of what differs. A figure that only one of them has is a line too."""
    return [*_figures(first, second), *(line for line in _rest(first, second) if line.first != line.second)]


def fits(first: Model, second: Model) -> bool:
    """Whether the second takes and gives what the first does, so that a job can change from one to the other."""
    return _face(first) == _face(second)


def _figures(first: Model, second: Model) -> Iterator[Line]:
    ours = {(metric.data, metric.name): metric.value for metric in first.metrics}
    theirs = {(metric.data, metric.name): metric.value for metric in second.metrics}
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key), theirs.get(key)
        data, name = key
        yield Line(f"{name} on {data}", a, b, None if a is None or b is None else b - a)
    yield Line("bytes", first.size, second.size, second.size - first.size)


def _rest(first: Model, second: Model) -> Iterator[Line]:
    yield Line("digest", first.digest, second.digest)
    for field in ("format", "framework", "threads", "warm_up"):
        yield Line(field, str(getattr(first.description, field)), str(getattr(second.description, field)))
    for field in ("input", "output"):
        a, b = (msgspec.json.encode(getattr(model.description, field)).decode() for model in (first, second))
        yield Line(field, a, b)
    for field in ("parent", "job", "data", "code"):
        yield Line(field, getattr(first.lineage, field), getattr(second.lineage, field))


def _face(model: Model) -> tuple[object, ...]:
    """What stays when weights change: the sample, the kind of result, and the names of its classes."""
    given, output = model.description.input, model.description.output
    return given.dtype, given.shape, type(output), getattr(output, "classes", ())
