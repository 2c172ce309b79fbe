"""One photograph, compressed by a learned codec and by a classical one at the same size."""

from collections.abc import Mapping
from pathlib import Path

import ml_collections
import numpy as np
import skimage.data

from codec_jax import image_files, loading
from codec_jax.evaluation import measurements
from codec_jax.evaluation.classical import CLASSICAL, ClassicalCodec
from pim_jax.evaluation import printed, tables
from pim_jax.evaluation.outputs import Output
from pim_jax.evaluation.tables import Score, Table
from pim_jax.training import page

# The name of the section in a report: a second run takes the place of the first.
_SECTION = "photograph"


def photograph(
    config: ml_collections.ConfigDict, progress: object, output: Output | None = None
) -> list[Table]:
    """Original, classical and learned side by side, with bytes and qualities.

    Writes original.png, NAME.png of each codec and side_by_side.png to `config.out`, and
    a section with these pictures to the page `config.report`, if one is named.
    """
    del progress
    output = output or Output(config.out, config.evaluation)
    if config.report:
        page.check(Path(config.report))
    picture = _read(config.image)
    scores = measurements.scores_named(config.metrics)
    learned = loading.load(config.codec)
    data = learned.compress(picture, config.rate)
    classical = _classical(config.anchor)
    quality, anchor_data = at_most(classical, picture, len(data))
    decoded = {
        f"{classical.name} {quality}": (anchor_data, classical.decompress(anchor_data)),
        learned.name: (data, learned.decompress(data)),
    }
    rows = {
        name: {
            "bytes": Score(len(coded)),
            "bpp": Score(8 * len(coded) / (picture.size // 3)),
            **{key: Score(score(picture, seen)) for key, score in scores.items()},
        }
        for name, (coded, seen) in decoded.items()
    }
    shown = {"original": picture, **{name: seen for name, (_, seen) in decoded.items()}}
    _write(output, shown)
    if config.report:
        pictures = {_caption(name, rows.get(name, {})): shown[name] for name in shown}
        page.add_section(
            Path(config.report), _SECTION, "A photograph, compressed", pictures
        )
    return [
        Table(
            f"{config.image or 'scikit-image: coffee.png'}, {picture.shape[1]} x "
            f"{picture.shape[0]}",
            {"bytes": "", "bpp": "", **{key: printed.unit(key) for key in scores}},
            rows,
            (
                f"{classical.name}: its largest file of at most as many bytes.",
                f"side_by_side.png, from left to right: {', '.join(shown)}.",
            ),
            drawn=False,
        )
    ]


def _caption(name: str, row: Mapping[str, Score]) -> str:
    return ", ".join(
        [name, *(f"{key} {tables.number(score.value)}" for key, score in row.items())]
    )


def at_most(codec: ClassicalCodec, image: np.ndarray, size: int) -> tuple[int, bytes]:
    """The largest file of at most `size` bytes, over integer qualities 1 to 100.

    Returns: its quality and the file; quality 1 if even that is larger.
    """
    low, best = 1, codec.compress(image, 1)
    high = 100
    while low < high:
        middle = (low + high + 1) // 2
        data = codec.compress(image, middle)
        if len(data) <= size:
            low, best = middle, data
        else:
            high = middle - 1
    return low, best


def _classical(name: str) -> ClassicalCodec:
    if name not in ("jpeg", "jpeg444", "webp"):
        raise ValueError(
            f"config.anchor is {name!r}, expected jpeg, jpeg444 or webp, whose qualities "
            "are 1 to 100"
        )
    return CLASSICAL[name]


def _read(path: str) -> np.ndarray:
    return image_files.read(path).pixels if path else skimage.data.coffee()


def _write(output: Output, shown: dict[str, np.ndarray]) -> None:
    for name, image in shown.items():
        output.picture(image, f"{name.split()[0]}.png")
    together = np.concatenate(list(shown.values()), 1)
    output.picture(together, "side_by_side.png")
