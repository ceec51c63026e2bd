"""How large a simulated world is and how often what breaks."""

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """Sizes and chances. Times are virtual seconds; the storm lasts `storm_s`, then everything works again.

    `late_job` is the share of samples of a job that the hub does not run before its first restart after half of the
    storm, `large` is the share of samples that go as blobs. The hub's policy changes `policies` times, and
    `hub_restores` times it forgets what it sent since a backup. In a share `rooted` of all worlds a root vouches for
    the hub's key, which is replaced `rotations` times and stolen `thefts` times.
    The last five switch a part of the protocol off, to prove that the simulator notices.
    """

    agents: int = 50
    samples: int = 5
    storm_s: float = 60.0
    calm_s: float = 7200.0
    drop: float = 0.15
    double: float = 0.15
    late: float = 0.1
    kills: float = 1.2
    cuts: float = 1.0
    restores: float = 0.15
    full_disks: float = 0.3
    hub_kills: int = 3
    hub_full_disks: int = 1
    broker_restarts: int = 2
    late_job: float = 0.2
    large: float = 0.08
    worker_death: float = 0.03
    poison: float = 0.004
    policies: int = 3
    hub_restores: float = 0.5
    rooted: float = 0.5
    rotations: int = 2
    thefts: float = 1.5
    without_deduplication: bool = False
    without_low: bool = False
    without_receipts: bool = False
    without_ratchet: bool = False
    without_epoch: bool = False
