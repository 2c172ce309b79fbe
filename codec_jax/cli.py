"""The command `codec-jax`: compress, decompress, info, models, freeze, convert."""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rich.progress
from rich.table import Table

from codec_jax import convert, image_files, weights
from codec_jax.coding import bitstream
from codec_jax.coding.bitstream import Packet
from codec_jax.models.config import CodecConfig
from codec_jax.trained import LARGEST_IMAGE, Progress, TrainedCodec
from pim_jax.terminal import console, run

STREAM = "-"  # in place of a path: standard input or output
# Smaller pictures are done before a bar could be read.
_SHOWS_PROGRESS = 2**21


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 if it succeeded, 2 after one line on stderr if it did not.

    Args:
      arguments: in place of those of the process.
    """
    options = _parser().parse_args(arguments)
    return run("codec-jax", lambda: COMMANDS[options.command](options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codec-jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    compress = commands.add_parser(
        "compress", help="write a picture (PNG, JPEG, WebP, TIFF) as .cjx"
    )
    _paths(compress)
    compress.add_argument(
        "--codec",
        default=weights.DEFAULT,
        help="a name (see `codec-jax models`) or a file of weights; default: %(default)s",
    )
    target = compress.add_mutually_exclusive_group()
    target.add_argument("--rate", type=float, help="0 is the smallest file")
    target.add_argument("--target-bpp", type=float, help="at most, bits for each pixel")
    target.add_argument("--target-psnr", type=float, help="at least, in dB over RGB")
    decompress = commands.add_parser(
        "decompress", help="write the picture in a .cjx file as PNG, TIFF or WebP"
    )
    _paths(decompress)
    decompress.add_argument(
        "--codec", help="a file of weights, where the file's own codec has no name here"
    )
    decompress.add_argument(
        "--format",
        choices=sorted(set(image_files.SUFFIXES.values())),
        help="of the output; default: by its suffix, PNG for standard output",
    )
    decompress.add_argument(
        "--largest-image",
        type=int,
        default=LARGEST_IMAGE,
        help="refuse pictures of more pixels; default: %(default)s",
    )
    info = commands.add_parser("info", help="print what a .cjx file holds")
    info.add_argument("source", metavar="IN")
    commands.add_parser("models", help="list the trained codecs in this package")
    freeze = commands.add_parser(
        "freeze", help="make the file of weights of a training run"
    )
    freeze.add_argument("run", type=Path, help="the run's folder")
    freeze.add_argument("--name", required=True, help="which every .cjx file carries")
    freeze.add_argument(
        "--out", type=Path, help=f"default: {weights.FROZEN} in the folder"
    )
    converted = commands.add_parser(
        "convert", help="make a file of weights from a checkpoint of CompressAI"
    )
    converted.add_argument(
        "source", type=Path, metavar="SRC", help=".pth, .tar or .npz"
    )
    converted.add_argument("out", type=Path, metavar="OUT", help="file .npz")
    converted.add_argument(
        "--name", required=True, help="which every .cjx file carries"
    )
    return parser


def _paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="a file, or - for standard input")
    parser.add_argument("out", metavar="OUT", help="a file, or - for standard output")


def _compress(options: argparse.Namespace) -> None:
    codec = weights.load(options.codec)
    source = sys.stdin.buffer if options.source == STREAM else options.source
    picture = image_files.read(source)
    with _progress(picture.pixels.size // 3) as progress:
        data = codec.compress(
            picture.pixels,
            options.rate,
            target_bpp=options.target_bpp,
            target_psnr=options.target_psnr,
            extras=image_files.extras_of(picture),
            progress=progress,
        )
    _write_bytes(options.out, data)
    height, width = picture.pixels.shape[:2]
    console(stderr=True).print(
        f"{width} x {height}, {len(data)} bytes, {8 * len(data) / (height * width):.4f} "
        "bits per pixel"
    )


def _decompress(options: argparse.Namespace) -> None:
    packet = bitstream.unpack(_read_bytes(options.source))
    codec = _codec_of(packet, options.codec)
    with _progress(packet.height * packet.width) as progress:
        pixels = codec.decode(packet, options.largest_image, progress)
    picture = image_files.picture_from(pixels, packet.extras)
    out = sys.stdout.buffer if options.out == STREAM else options.out
    image_files.write(picture, out, options.format)


def _codec_of(packet: Packet, chosen: str | None) -> TrainedCodec:
    if chosen is None and packet.model not in weights.PACKAGED:
        raise ValueError(
            f"the file was written by codec {packet.model!r}, which is not in this "
            "package; give its weights with --codec"
        )
    return weights.load(packet.model if chosen is None else chosen)


def _info(options: argparse.Namespace) -> None:
    data = _read_bytes(options.source)
    packet = bitstream.unpack(data)
    strings = sum(map(len, packet.strings))
    extras = {name: len(value) for name, value in packet.extras.items()}
    rows = {
        "codec": f"{packet.model} {packet.fingerprint.hex()}",
        "size": f"{packet.width} x {packet.height}",
        "rate": f"{packet.rate / 256:g}",
        "bytes": f"{len(data)}, of which {strings} are the picture",
        "bits per pixel": f"{8 * len(data) / (packet.width * packet.height):.4f}",
        "extras": ", ".join(f"{name} {size}" for name, size in extras.items())
        or "none",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    console().print(table)


def _models(options: argparse.Namespace) -> None:
    del options
    table = Table("name", "architecture", "rates")
    for name in weights.PACKAGED:
        codec = weights.load(name)
        table.add_row(name, _described(codec.config), f"0 to {codec.rates[-1]:g}")
    console().print(table)


def _described(config: CodecConfig) -> str:
    chosen = dataclasses.asdict(config)
    return ", ".join(
        f"{key} {chosen[key]}"
        for key in ("transforms", "filters", "latents", "prior", "hyper")
    )


def _freeze(options: argparse.Namespace) -> None:
    codec, record = weights.freeze_run(options.run, options.name)
    out = options.out or options.run / weights.FROZEN
    weights.save(codec, out, record)
    console().print(f"{out}: {out.stat().st_size} bytes, {codec.fingerprint.hex()}")


def _convert(options: argparse.Namespace) -> None:
    found = convert.read_compressai(options.source)
    codec = TrainedCodec(
        options.name,
        found.config,
        found.params,
        (),
        found.prior_tables,
        found.scale_tables,
    )
    weights.save(codec, options.out, {"source": str(options.source)})


COMMANDS = {
    "compress": _compress,
    "decompress": _decompress,
    "info": _info,
    "models": _models,
    "freeze": _freeze,
    "convert": _convert,
}


def _read_bytes(source: str) -> bytes:
    if source == STREAM:
        return sys.stdin.buffer.read()
    return Path(source).read_bytes()


def _write_bytes(out: str, data: bytes) -> None:
    if out == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        image_files.replace_file(out, data)


@contextmanager
def _progress(pixels: int) -> Iterator[Progress]:
    """A bar on stderr for each stage, for pictures that take a while."""
    if pixels < _SHOWS_PROGRESS:
        yield lambda stage, share: None
        return
    with rich.progress.Progress(console=console(stderr=True)) as bar:
        add = functools.lru_cache(None)(lambda stage: bar.add_task(stage, total=1.0))
        yield lambda stage, share: bar.update(add(stage), completed=share)
