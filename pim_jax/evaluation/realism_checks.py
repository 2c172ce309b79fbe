"""What measures of realism do: with distortions, with other pairs, with other texture.

Each measure of `realism` is taken of the latents of PIM and, beside them, of pixels. The
checks: next to nothing for two sets of photographs; growing with a distortion; indifferent
to which image is a reconstruction of which; and not troubled by another sample of the same
texture, which paired distortion punishes more than blur.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pim_jax.data.distortions import DISTORTIONS, blur
from pim_jax.distributions import Mixture
from pim_jax.evaluation import realism, scores
from pim_jax.evaluation.tables import Score, Table
from pim_jax.pim.distance import PimMetric, Representation

SETS = ("KL", "Frechet", "MMD")  # which know no pairs
CHECKED = ("noise", "blur", "jpeg")
# One standard deviation of the density that stands for a pixel, on a range of 1.
PIXEL_DEVIATION = 0.1
_PIXEL_LEVELS = 3
_TEXTURE_BLUR = 1.0  # pixels
_PAIRS_AT = ("jpeg", 2)  # distortion and index of the strength that pairs are tried at


class Settings(NamedTuple):
    """How much is measured.

    Attributes:
      images: in each of the two sets of crops.
      texture_images: in each of the two sets of a texture.
      points: positions, of all images of a set together, that densities and the MMD are
        estimated from in each level.
      sigmas: neighbourhoods of the Wasserstein distortion, pixels of the image.
      batch_size: images that are represented at once.
      seed: of noise, of positions, of samples.
    """

    images: int = 48
    texture_images: int = 24
    points: int = 1536
    sigmas: tuple[float, ...] = (0, 4, 16)
    batch_size: int = 16
    seed: int = 0


# Images (n, h, w, 3) in [0, 1] -> levels of logits (n, h, w, m) and loc (n, h, w, m, z).
Represent = Callable[[Array], Representation]


def pixels(image: Array) -> Representation:
    """Blocks of 2x2 pixels as levels of Gaussians: z = 12, in `PIXEL_DEVIATION`.

    Each level halves the image, as long as there are pixels.
    """
    levels = []
    for _ in range(_PIXEL_LEVELS):
        n, height, width, channels = image.shape
        if min(height, width) < 4:
            break
        blocks = image[:, : height // 2 * 2, : width // 2 * 2].reshape(
            n, height // 2, 2, width // 2, 2, channels
        )
        loc = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(
            n, height // 2, width // 2, 1, 4 * channels
        )
        levels.append(
            Mixture(jnp.zeros(loc.shape[:4], jnp.float32), loc / PIXEL_DEVIATION)
        )
        image = jnp.mean(blocks, axis=(2, 4))
    return tuple(levels)


class Level(NamedTuple):
    """What is kept of one level of the representation of a set.

    Attributes:
      chosen: posteriors at some positions, logits (n, p, m) and loc (n, p, m, z).
      mean: of the posteriors, at all positions, (n, h, w, z).
    """

    chosen: Mixture
    mean: Array


def describe(
    represent: Represent, images: np.ndarray, settings: Settings
) -> list[Level]:
    """Levels of the representation of a set, uint8 (n, h, w, 3)."""
    n, size = len(images), min(settings.batch_size, len(images))
    parts = []
    for start in range(0, n, size):
        # The last batch is filled up, so that all have one size.
        index = np.minimum(np.arange(start, start + size), n - 1)
        unit = jnp.asarray(images[index], jnp.float32) / 255
        levels = _kept(represent(unit), max(settings.points // n, 1), settings.seed)
        parts.append(jax.tree.map(lambda x, k=n - start: np.asarray(x)[:k], levels))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _kept(levels: Representation, most: int, seed: int) -> list[Level]:
    found = []
    for i, (logits, loc) in enumerate(levels):
        n, height, width, m = logits.shape
        count = min(most, height * width)
        # The same positions in every image of every set, so that sets are comparable.
        where = np.random.default_rng([seed, i]).permutation(height * width)[:count]
        flat = Mixture(
            logits.reshape(n, -1, m)[:, where],
            loc.reshape(n, height * width, m, -1)[:, where],
        )
        weights = jax.nn.softmax(logits)[..., None]
        found.append(Level(flat, jnp.sum(weights * loc, axis=-2)))
    return found


def _flat(part: Mixture) -> Mixture:
    return Mixture(*(x.reshape(-1, *x.shape[2:]) for x in part))


@jax.jit
def _densities(key: Array, p: Mixture, q: Mixture) -> Array:
    """KL and MMD of one level, (2,)."""

    def half(level: Mixture, k: int) -> Mixture:
        return _flat(Mixture(*(x[k::2] for x in level)))

    # Samples and densities come from different images, once the one way, once the other.
    kl = jnp.mean(
        jnp.stack(
            [
                realism.plug_in_kl(key, half(p, k), half(p, 1 - k), half(q, 1 - k))
                for k in range(2)
            ]
        )
    )
    points = [
        jnp.einsum("npm,npmz->npz", jax.nn.softmax(x.logits), x.loc) for x in (p, q)
    ]
    return jnp.stack([kl, realism.mmd(*points)])


def _set_measures(key: Array, p: Level, q: Level) -> tuple[float, ...]:
    """KL, Fréchet distance and MMD of one level."""
    kl, mmd = _densities(key, p.chosen, q.chosen)
    moments = [
        realism.moments(np.asarray(x.mean).reshape(-1, x.mean.shape[-1]))
        for x in (p, q)
    ]
    return float(kl), realism.frechet(*moments), float(mmd)


_wasserstein = jax.jit(realism.wasserstein)


def measures(
    p: Sequence[Level], q: Sequence[Level], side: int, settings: Settings
) -> dict[str, float]:
    """Every measure of set Q against set P, a mean over levels.

    Args:
      p, q: sets of equally many images, an even number; Q's images are reconstructions
        of P's, in order, for the paired measures.
      side: of the images in pixels.
      settings: `sigmas`, `seed`.
    """
    of_sets, of_pairs = [], []
    for i, (a, b) in enumerate(zip(p, q, strict=True)):
        key = jax.random.fold_in(jax.random.key(settings.seed), i)
        of_sets.append(_set_measures(key, a, b))
        scale = a.mean.shape[1] / side
        means = [x.mean - a.mean.mean((0, 1, 2), keepdims=True) for x in (a, b)]
        of_pairs.append(
            [float(_wasserstein(*means, s * scale).mean()) for s in settings.sigmas]
        )
    found = dict(zip(SETS, np.mean(of_sets, axis=0).tolist(), strict=True))
    names = [_paired_name(s) for s in settings.sigmas]
    return found | dict(zip(names, np.mean(of_pairs, axis=0).tolist(), strict=True))


def _paired_name(sigma: float) -> str:
    return "squared error" if sigma <= 1 else f"Wasserstein {sigma:g}"


class Results(NamedTuple):
    """Of one space of latents; measure -> values.

    Attributes:
      natural: of two sets of photographs; of paired measures, of photographs with
        themselves.
      distorted: distortion -> one value a strength.
      paired, permuted: of distorted photographs with their own originals, in order and
        in another order within each half.
      resampled, blurred: of textures with other samples, and with themselves blurred.
    """

    natural: dict[str, float]
    distorted: dict[str, dict[str, list[float]]]
    paired: dict[str, float]
    permuted: dict[str, float]
    resampled: dict[str, float]
    blurred: dict[str, float]


def examine(
    represent: Represent,
    crops: np.ndarray,
    textures: Mapping[str, np.ndarray],
    settings: Settings,
) -> Results:
    """All checks of one space.

    Set measures compare one half of the crops with the other half distorted, so that no
    scene is in both sets; paired ones the other half with itself distorted.

    Args:
      represent: images to levels.
      crops: uint8 (2 images, h, w, 3).
      textures: name -> uint8 (2 texture_images, h, w, 3).
      settings: how much.
    """
    side = crops.shape[1]
    first, second = np.split(crops, 2)
    describing = functools.partial(describe, jax.jit(represent), settings=settings)
    measuring = functools.partial(measures, side=side, settings=settings)
    p, own = describing(first), describing(second)

    def mixed(q: list[Level]) -> dict[str, float]:
        return measuring(own, q) | {k: measuring(p, q)[k] for k in SETS}

    distorted: dict[str, dict[str, list[float]]] = {}
    for name in CHECKED:
        rows = []
        for strength in DISTORTIONS[name].strengths:
            q = describing(_apply(name, strength, second, settings.seed))
            rows.append(mixed(q))
        distorted[name] = {k: [row[k] for row in rows] for k in rows[0]}
    name, index = _PAIRS_AT
    changed = _apply(name, DISTORTIONS[name].strengths[index], second, settings.seed)
    order = _order_within_halves(len(second), settings.seed)
    resampled, blurred = [], []
    for found in textures.values():
        texture, other = (np.asarray(x) for x in np.split(found, 2))
        at = describing(texture)
        resampled.append(measuring(at, describing(other)))
        smooth = np.stack([blur(x, _TEXTURE_BLUR) for x in texture])
        blurred.append(measuring(at, describing(smooth)))
    return Results(
        mixed(own),
        distorted,
        measuring(own, describing(changed)),
        measuring(own, describing(changed[order])),
        *(
            {k: float(np.mean([r[k] for r in x])) for k in x[0]}
            for x in (resampled, blurred)
        ),
    )


def _order_within_halves(count: int, seed: int) -> np.ndarray:
    """A permutation that leaves every image in the half that `_densities` puts it in.

    Across halves the density of Q would hold the reconstructions of the very images that
    P is sampled from, which estimates of the KL divergence must not see.
    """
    random, order = np.random.default_rng(seed), np.empty(count, int)
    for k in range(2):
        order[k::2] = random.permutation(np.arange(k, count, 2))
    return order


def _apply(name: str, strength: float, images: np.ndarray, seed: int) -> np.ndarray:
    apply = DISTORTIONS[name].apply
    return np.stack([apply(x, strength, seed + i) for i, x in enumerate(images)])


def spaces(metrics: Mapping[str, PimMetric]) -> dict[str, Represent]:
    """Latents of each metric, and pixels last."""
    return {**{name: m.represent for name, m in metrics.items()}, "pixels": pixels}


def check_table(results: Mapping[str, Results], settings: Settings) -> Table:
    """One row a space and measure: the four checks."""
    rows = {}
    for space, r in results.items():
        for measure in r.natural:
            values = {"natural": r.natural[measure]}
            for name in CHECKED:
                strengths = [0, *DISTORTIONS[name].strengths]
                found = [r.natural[measure], *r.distorted[name][measure]]
                values[name] = scores.spearman(strengths, found)
            strongest = r.distorted["jpeg"][measure][-1]
            values["jpeg 92"] = strongest
            values["permuted:paired"] = r.permuted[measure] / r.paired[measure]
            values["resampled:blurred"] = r.resampled[measure] / r.blurred[measure]
            rows[f"{space}: {measure}"] = {
                k: Score(v) for k, v in values.items() if np.isfinite(v)
            }
    return Table(
        f"Realism of {settings.images} crops against {settings.images} others",
        dict.fromkeys(["natural", *CHECKED, *list(values)[4:]], ""),
        rows,
        (
            "natural: two sets of photographs (paired measures: with themselves).",
            f"{', '.join(CHECKED)}: rank correlation with strength, natural among them.",
            "jpeg 92: the value at the strongest JPEG, quality 8.",
            "permuted:paired: with reconstructions in another order within each half of "
            "the set, by in order.",
            "resampled:blurred: other samples of a texture, by the texture blurred.",
            f"KL: nats; densities of at most {settings.points // 2} posteriors a level.",
        ),
        drawn=False,
    )


def strength_tables(results: Mapping[str, Results]) -> list[Table]:
    """One table a distortion: every measure at every strength."""
    tables = []
    for name in CHECKED:
        strengths = [f"{s:g}" for s in DISTORTIONS[name].strengths]
        rows = {
            f"{space}: {measure}": {
                k: Score(v)
                for k, v in zip(
                    ["none", *strengths],
                    [r.natural[measure], *r.distorted[name][measure]],
                    strict=True,
                )
            }
            for space, r in results.items()
            for measure in r.natural
        }
        title = f"Realism with {name} ({DISTORTIONS[name].unit})"
        columns = dict.fromkeys(["none", *strengths], "")
        tables.append(Table(title, columns, rows, drawn=False))
    return tables
