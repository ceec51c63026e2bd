"""The offload policy as it travels: one document for one job and one edge model, at most 16 KB.

A sample's **score** says how much the big model is expected to help with it: larger is harder. The **sketch** turns a
score into a rank among calibration samples, the **gate** says how far a sample lies from them, and the **terms** say
how much may be sent.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from messages.shapes import Finite, Natural, Tensor

MAX_POLICY: Final = 16_384
"""Bytes of an encoded policy."""

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0, le=1e12)]


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may be sent: a share of the samples, bytes on the link, or what a promise of quality needs.

    `budget` is a share, `bytes` in `per_s` seconds is for all that the node exchanges; the tighter one counts.
    `quality` is the share of right answers among those that are kept on the edge, promised with this `confidence`, and
    excludes a `budget`. `burst` samples may follow each other. `window` ("22:00-06:00", UTC) are the hours in which
    samples may be sent. `emergency` is the share that may be sent while the world has shifted; 0 makes the budget hard.
    `audit` of all samples are sent by chance.
    """

    budget: Share | None = None
    bytes: Natural | None = None
    per_s: Positive = 3600.0
    quality: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    confidence: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.95
    burst: Annotated[int, Meta(ge=1, le=100_000)] = 20
    window: str = ""
    emergency: Share = 0.0
    audit: Share = 0.01


class Certainty(Struct, frozen=True, kw_only=True, tag="certainty"):
    """A rule on the edge model's result alone: 1 - margin, 1 - highest probability, or normalised entropy.

    Probabilities are first scaled by `temperature` (Guo et al., 2017). Boxes and scalars have one confidence, and any
    rule gives 1 - confidence.
    """

    rule: Literal["margin", "max_probability", "entropy"] = "margin"
    temperature: Positive = 1.0


class Pool(Struct, frozen=True, kw_only=True):
    """How a sample becomes a few numbers: averages over a grid of `grid` cells on the axes of `shape`.

    `shape` is the sample's own; every grid size is at most the axis's. Axes that are not to be told apart have size 1.
    """

    shape: tuple[Natural, ...]
    grid: tuple[Natural, ...]


class Layer(Struct, frozen=True, kw_only=True):
    """One dense layer: `weights` (inputs, units), `bias` (units,). All but a network's last are followed by ReLU."""

    weights: Tensor
    bias: Tensor


class Network(Struct, frozen=True, kw_only=True, tag="network"):
    """A learned score: the expected gain P(cloud right) - P(edge right), from -1 to 1.

    Its inputs are what `features.of_classes` gives and behind them `cells` numbers of the pooled sample. Post-hoc
    deferral: Narasimhan et al., 2022; Jitkrittum et al., 2023. One unit at the end is the gain itself; two are the
    logits of P(cloud right) and P(edge right); `classes` + 1 are the logit of P(cloud right) and the logits of a
    softmax over the classes: a second opinion, in which P(edge right) is what it gives the edge's own class.
    """

    classes: Natural
    cells: Natural = 0
    layers: tuple[Layer, ...]


Score = Certainty | Network


class Gate(Struct, frozen=True, kw_only=True):
    """How far a sample lies from those of calibration (Mahalanobis), by its `cells` pooled numbers.

    The distance is `|(pooled - mean) @ whiten|`, mean (cells,), whiten (cells, parts). Beyond `threshold` (a high
    percentile of calibration) a sample is shifted. `location` and `scale` are mean and standard deviation of the
    distance's logarithm on calibration.
    """

    mean: Tensor
    whiten: Tensor
    threshold: Positive
    location: Finite
    scale: Positive


class Promise(Struct, frozen=True, kw_only=True):
    """Quality: what scores at most `score` may be kept on the edge. `labels` is how many samples that rests on."""

    score: Finite
    error: Share
    confidence: Share
    labels: Natural


class OffloadPolicy(Struct, frozen=True, kw_only=True):
    """What decides which samples of `job` are sent. `model` is the digest of the edge model that it was fitted for.

    `version` only grows. `sketch` (n,) holds the scores of calibration at evenly spaced ranks, ascending; without one
    the agent ranks by the scores that it sees. Scores up to `floor` are never sent. `pool` is how score and gate see
    the sample, where they do. Without `terms` the agent's own configuration counts. An empty `model` fits any model,
    but goes only with a `Certainty` and without a gate.
    """

    job: str
    version: Natural
    model: str = ""
    score: Score = Certainty()
    pool: Pool | None = None
    sketch: Tensor | None = None
    floor: Finite | None = None
    gate: Gate | None = None
    promise: Promise | None = None
    terms: Terms | None = None
    fitted_at: Natural = 0
    samples: Natural = 0
    labels: Natural = 0
