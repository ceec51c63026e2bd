"""Closing the books of a world that has come to rest: what was lost, what happened twice, what is still remembered."""

from msgspec import Struct

from messages import channels
from messages.delivery.ledger import close, total
from messages.delivery.rows import Outcome
from messages.delivery.sender import SPREAD
from tests.simulation.cloud import Cloud
from tests.simulation.devices import PACE, Device


class Result(Struct, frozen=True, kw_only=True):
    """One world's end. `lost`, `duplicated` and `problems` must be 0 and empty; `digest` names the run."""

    seed: int
    samples: int
    lost: int
    duplicated: int
    problems: tuple[str, ...]
    digest: str

    @property
    def ok(self) -> bool:
        """Nothing was lost, nothing happened twice, and the books close."""
        return not self.lost and not self.duplicated and not self.problems


def examine(seed: int, devices: list[Device], cloud: Cloud, digest: str) -> Result:
    """Compare what the apps were promised with what the hub has, and both ledgers with one another."""
    lost, problems = 0, list(_remembered(devices, cloud))
    for device in devices:
        missing = [s for s in device.promised if s not in device.excused and not _stored(cloud, device, s)]
        if len(missing) > _given_up(device):
            lost += len(missing) - _given_up(device)
            problems += [f"{device.name}: sample {sample} is not at the hub" for sample in missing]
        problems += _books(device, cloud)
        problems += _finals(device)
        problems += _desired(device, cloud)
    twice = {key: number for key, number in cloud.store.applied.items() if number > 1}
    problems += [f"{node}: message {event_id} took effect {number} times" for (node, event_id), number in twice.items()]
    return Result(
        seed=seed,
        samples=sum(len(device.promised) for device in devices),
        lost=lost,
        duplicated=len(twice),
        problems=tuple(problems),
        digest=digest,
    )


def _stored(cloud: Cloud, device: Device, sample_id: str) -> bool:
    job, data = device.promised[sample_id]
    return cloud.store.content(device.name, job, sample_id) == data


def _given_up(device: Device) -> int:
    """What the device's own books say was dropped by a cap, or refused."""
    ledger = device.store.ledger()
    path = channels.UP_SAMPLE.path
    return total(ledger, Outcome.DROPPED, path) + total(ledger, Outcome.REFUSED, path)


def _books(device: Device, cloud: Cloud) -> list[str]:
    """A restored ledger is an old one, so only its own sums can be held against a restored device."""
    ours, hubs = device.store.ledger(), cloud.store.ledger()
    up = close(ours, hubs, channels.UP_SAMPLE.path, waiting=device.waiting, node=device.name, at_hub=True)
    down = close(hubs, ours, channels.DOWN_ANSWER.path, waiting=0, node=device.name, at_hub=False)
    problems = [f"{device.name}: up {up} is unbalanced"] if up.unbalanced else []
    if down.unbalanced:
        problems.append(f"{device.name}: down {down} is unbalanced")
    if up.waiting:
        problems.append(f"{device.name}: {up.waiting} samples still wait")
    if not device.restored and (up.lost or down.lost):
        problems.append(f"{device.name}: the books do not close, up {up}, down {down}")
    return problems


def _finals(device: Device) -> list[str]:
    """Every promised sample gets its final answer, once unless the device cannot know that it had it."""
    problems = []
    for sample in device.promised:
        number = device.finals.get(sample, 0)
        if sample in device.ended or (number == 0 and _given_up(device)):
            continue
        if number == 0 and not device.restored:
            problems.append(f"{device.name}: sample {sample} never got its final answer")
        if number > 1 and not device.restored and sample not in device.may_hear_twice:
            problems.append(f"{device.name}: sample {sample} got {number} final answers")
    return problems


def _desired(device: Device, cloud: Cloud) -> list[str]:
    """Every device runs what the hub wants, and none went back to an older state."""
    problems = [f"{device.name}: went back to {place}" for place in device.went_back]
    if cloud.differs(device):
        keys = f"keys of epoch {device.key_epoch}, not {cloud.keys.epoch}"
        problems.append(f"{device.name}: runs policy {device.runs}, not {cloud.wants(device.name)}; {keys}")
    return problems


def _remembered(devices: list[Device], cloud: Cloud) -> list[str]:
    """Ids are forgotten as `low` rises: no stream may hold more of them than may lie between two in flight."""
    inboxes = [("hub", cloud.store.streams), *((device.name, device.store.streams) for device in devices)]
    return [
        f"{name}: remembers {len(state.seen)} ids of stream {stream}"
        for name, streams in inboxes
        for stream, state in streams.items()
        if len(state.seen) > SPREAD * PACE.window
    ]
