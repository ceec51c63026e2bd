"""One world: fifty devices and a hub live through a storm, then everything works again and must come to rest."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from random import Random
from unittest.mock import patch

from messages.codec import seal
from messages.delivery.receiver import Receiver, Verdict
from tests.simulation.checks import Result, examine
from tests.simulation.cloud import Cloud
from tests.simulation.devices import JOB, LATE_JOB, SMALL, Device
from tests.simulation.network import Network
from tests.simulation.plan import Plan
from tests.simulation.timeline import Timeline

LARGE = (1_000, 70_000, 150_000)
"""Bytes of a blob: one range, several, and several units."""


def run(seed: int, plan: Plan | None = None) -> Result:
    """Live through one world. The same seed and plan give the same digest."""
    world = World(seed, plan or Plan())
    with _switched_off(world.plan):
        return world.live()


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.plan = plan
        self._seed = seed
        self._random = Random(seed)
        self._timeline = Timeline()
        self._network = Network(self._timeline, self._random, plan)
        self._cloud = Cloud(self._timeline, self._network, self._random, plan)
        self._devices = [
            Device(
                f"node-{i}",
                self._timeline,
                self._network,
                self._random,
                keys=self._cloud.keys,
                settle_early=plan.without_receipts,
            )
            for i in range(plan.agents)
        ]

    def live(self) -> Result:
        """The storm, the calm, and the books."""
        self._timeline.after(self._random.uniform(0.0, 3.0), self._cloud.start)
        for device in self._devices:
            self._timeline.after(self._random.uniform(0.0, 5.0), device.start)
            self._plan_device(device)
        self._plan_hub()
        self._timeline.run(self.plan.storm_s)
        self._calm()
        self._timeline.run(self.plan.storm_s + self.plan.calm_s, stop=self._at_rest)
        return examine(self._seed, self._devices, self._cloud, self._timeline.digest())

    def _plan_device(self, device: Device) -> None:
        for number in range(self.plan.samples):
            kill = self._random.random() < 0.02
            self._sometime(partial(self._sample, device, number, kill))
        for _ in range(self._times(self.plan.kills)):
            self._sometime(lambda: self._kill(device))
        for _ in range(self._times(self.plan.cuts)):
            self._sometime(lambda: self._network.cut(device.name))
        for _ in range(self._times(self.plan.full_disks)):
            self._fill_up(lambda full: setattr(device.store, "full", full))
        for _ in range(self._times(self.plan.restores)):
            self._sometime(device.back_up)
            self._sometime(lambda: self._restore(device))

    def _plan_hub(self) -> None:
        for _ in range(self.plan.hub_kills):
            self._sometime(self._kill_hub)
        for _ in range(self.plan.hub_full_disks):
            self._fill_up(lambda full: setattr(self._cloud.store, "full", full))
        for _ in range(self.plan.broker_restarts):
            self._sometime(self._network.restart)
        for _ in range(self.plan.policies):
            node = self._random.choice(["", "", self._devices[0].name])
            self._sometime(partial(self._cloud.want, node))
        if self._cloud.keys.roots:
            self._plan_keys()
        for _ in range(self._times(self.plan.hub_restores)):
            self._sometime(self._cloud.back_up)
            self._sometime(self._restore_hub)

    def _plan_keys(self) -> None:
        for _ in range(self.plan.rotations):
            self._sometime(self._cloud.keys.rotate)
        for _ in range(self._times(self.plan.thefts)):
            self._sometime(self._random.choice(self._devices).rob)

    def _calm(self) -> None:
        self._network.stormy = False
        self._cloud.store.full = False
        if self._cloud.keys.stolen:
            self._cloud.keys.rotate()
        self._cloud.kill()
        self._cloud.start()
        for device in self._devices:
            device.store.full = False
            device.start()
            device.connect()

    def _at_rest(self) -> bool:
        calm = not self._cloud.waiting and not any(device.waiting for device in self._devices)
        return calm and not any(map(self._cloud.differs, self._devices))

    def _sample(self, device: Device, number: int, kill: bool) -> None:
        job = LATE_JOB if self._random.random() < self.plan.late_job else JOB
        size = self._random.choice(LARGE) if self._random.random() < self.plan.large else SMALL
        device.sample(job, f"{device.name}-{number}", size=size, kill_after_commit=kill)
        if not device.alive:
            self._timeline.after(self._random.uniform(0.5, 5.0), device.start)

    def _kill(self, device: Device) -> None:
        self._timeline.note("killed", device.name)
        device.kill()
        self._timeline.after(self._random.uniform(0.5, 10.0), device.start)

    def _restore(self, device: Device) -> None:
        self._timeline.note("restored", device.name)
        device.restore()
        self._timeline.after(self._random.uniform(0.5, 5.0), device.start)

    def _restore_hub(self) -> None:
        self._cloud.restore()
        self._timeline.after(self._random.uniform(0.1, 5.0), self._cloud.start)

    def _kill_hub(self) -> None:
        self._timeline.note("killed hub")
        self._cloud.kill()
        self._timeline.after(self._random.uniform(0.1, 10.0), self._cloud.start)

    def _fill_up(self, fill: Callable[[bool], None]) -> None:
        begin = self._random.uniform(0.0, self.plan.storm_s)
        self._timeline.after(begin, lambda: fill(True))
        self._timeline.after(begin + self._random.uniform(1.0, 15.0), lambda: fill(False))

    def _sometime(self, action: Callable[[], None]) -> None:
        self._timeline.after(self._random.uniform(0.0, self.plan.storm_s), action)

    def _times(self, mean: float) -> int:
        whole = int(mean)
        return whole + (self._random.random() < mean - whole)


def _switched_off(plan: Plan) -> ExitStack:
    """Switch off what the plan says, to prove that the simulator would notice."""
    stack = ExitStack()
    if plan.without_deduplication:
        stack.enter_context(patch.object(Receiver, "judge", lambda *_: Verdict.NEW))
    if plan.without_low:
        stack.enter_context(patch("messages.delivery.sender.seal", lambda body, event_id, _: seal(body, event_id, 0)))
    if plan.without_ratchet:
        stack.enter_context(patch("edge_agent.core.desired.Ratchet.place", (0, 0)))
    if plan.without_epoch:
        stack.enter_context(patch("edge_agent.core.trust.Trust.misplaced", lambda *_: ""))
    return stack
