"""The command `codec-jax`: compress, decompress, info, models, freeze, convert.

Exit status: 0 success, 1 some input failed, 2 the command line is wrong, 130 Ctrl-C.
"""

import argparse
import dataclasses
import functools
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich.progress
from rich.table import Table

from codec_jax import cli_files, compressai, freezing, image_files, loading
from codec_jax.cli_files import CODED, STREAM, Done, Job
from codec_jax.coding import bitstream, range_coder
from codec_jax.coding.bitstream import Packet
from codec_jax.trained import LARGEST_IMAGE, Progress, TrainedCodec
from pim_jax.io import compilation_cache, files
from pim_jax.io.terminal import (
    FAILED,
    INTERRUPTED,
    SUCCESS,
    USER_ERRORS,
    UsageError,
    complain,
    console,
    run,
)
from pim_jax.version import __version__

PROGRAM = "codec-jax"
# Smaller pictures are done before a bar could be read.
_SHOWS_PROGRESS = 2**21
# Without an answer in the suffix.
_DEFAULT_FORMAT: image_files.Format = "png"


def start() -> int:
    """`main` as a program of its own: with what it compiles kept on disk."""
    compilation_cache.keep()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status (see above).

    Args:
      arguments: in place of those of the process.
    """
    options = _parsed(arguments)
    return run(PROGRAM, lambda: _carry_out(options))


def _carry_out(options: argparse.Namespace) -> int | None:
    coder = getattr(options, "coder", None)
    engine = range_coder.CODERS[coder] if coder else None
    try:
        range_coder.chosen(engine)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with _warnings_in_one_line(), range_coder.using(engine):
        return COMMANDS[options.command](options)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # Paths on both sides of an option: argparse takes the first ones only.
    if "paths" in options and not any(_is_option(text) for text in rest):
        options.paths += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _is_option(text: str) -> bool:
    return text.startswith("-") and text != STREAM


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_compress(commands)
    _add_decompress(commands)
    info = commands.add_parser("info", help=f"print what a {CODED} file holds")
    info.add_argument("source", metavar="IN", help="a file, or - for standard input")
    models = commands.add_parser(
        "models", help="list the trained codecs in this package"
    )
    for command in (info, models):
        command.add_argument("--json", action="store_true", help="print JSON")
    freeze = commands.add_parser(
        "freeze", help="make the file of weights of a training run"
    )
    freeze.add_argument("run", type=Path, help="the run's folder")
    freeze.add_argument(
        "--out", type=Path, help=f"default: {loading.FROZEN} in the folder"
    )
    converted = commands.add_parser(
        "convert", help="make a file of weights from a checkpoint of CompressAI"
    )
    converted.add_argument(
        "source", type=Path, metavar="SRC", help=".pth, .tar or .npz"
    )
    converted.add_argument("out", type=Path, metavar="OUT", help="file .npz")
    for command in (freeze, converted):
        command.add_argument(
            "--name", required=True, help="which every .cjx file carries"
        )
        command.add_argument(
            "--force", action="store_true", help="overwrite an existing file"
        )
    return parser


def _add_compress(commands: Any) -> None:
    compress = commands.add_parser(
        "compress",
        help=f"write pictures (PNG, JPEG, WebP, TIFF ...) as {CODED}",
        usage="%(prog)s [options] IN OUT\n       %(prog)s [options] IN [IN ...] FOLDER",
    )
    _paths(compress, "a picture, a folder of them, or - for standard input")
    compress.add_argument(
        "--codec",
        default=loading.DEFAULT,
        help="a name (see `codec-jax models`) or a file of weights; default: %(default)s",
    )
    target = compress.add_mutually_exclusive_group()
    target.add_argument(
        "--rate",
        type=float,
        help="0 is the smallest file; default: the middle of the codec's range",
    )
    target.add_argument("--target-bpp", type=float, help="at most, bits for each pixel")
    target.add_argument("--target-psnr", type=float, help="at least, in dB over RGB")
    compress.add_argument(
        "--strip",
        action="store_true",
        help="leave out EXIF: camera, time and place; the colour profile stays",
    )
    compress.add_argument(
        "--no-psnr",
        action="store_true",
        help="do not decode each file again to measure it, which takes time",
    )


def _add_decompress(commands: Any) -> None:
    formats = sorted(set(image_files.SUFFIXES.values()))
    decompress = commands.add_parser(
        "decompress",
        help=f"write the pictures in {CODED} files as {', '.join(formats)}",
        usage="%(prog)s [options] IN OUT\n       %(prog)s [options] IN [IN ...] FOLDER",
    )
    _paths(decompress, f"a {CODED} file, a folder of them, or - for standard input")
    decompress.add_argument(
        "--codec", help="a file of weights, where the file's own codec has no name here"
    )
    decompress.add_argument(
        "--format",
        choices=formats,
        help="of the output; default: by its suffix, PNG for standard output and in a "
        "folder",
    )
    decompress.add_argument(
        "--largest-image",
        type=int,
        default=LARGEST_IMAGE,
        help="refuse pictures of more pixels; default: %(default)s",
    )


def _paths(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="IN ... OUT",
        help=f"IN: {what}. OUT: a file, a folder, or - for standard output",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--force", action="store_true", help="overwrite existing files"
    )
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out what is there already"
    )
    parser.add_argument(
        "--json", action="store_true", help="print what was done as JSON"
    )
    parser.add_argument(
        "--coder",
        choices=range_coder.CODERS,
        help="range coder, of the same bytes; ours starts faster; default: that of "
        f"{range_coder.VARIABLE}, else TensorFlow's where it is installed",
    )


def _compress(options: argparse.Namespace) -> int:
    todo = _jobs(options, CODED, cli_files.PICTURES)
    if len(todo.checked) == 1 and todo.checked[0].out != STREAM:
        _check_suffix(todo.checked[0].out, [CODED])
    codec = _loaded(options.codec)
    _check_rate(codec, options)
    return _do(todo, lambda job: _compressed(job, codec, options), options)


def _compressed(job: Job, codec: TrainedCodec, options: argparse.Namespace) -> Done:
    if job.source == STREAM:
        given = sys.stdin.buffer.read()
        size = len(given)
        picture = image_files.read(io.BytesIO(given))
    else:
        picture = image_files.read(job.source)
        size = Path(job.source).stat().st_size
    if options.strip:
        picture = dataclasses.replace(picture, exif=None)
    picture = image_files.with_hidden_filled(picture)
    with _progress(picture.pixels.size // 3) as progress:
        data = codec.compress(
            picture.pixels,
            options.rate,
            target_bpp=options.target_bpp,
            target_psnr=options.target_psnr,
            extras=image_files.extras_of(picture),
            progress=progress,
        )
    _write_bytes(job.out, data)
    height, width = picture.pixels.shape[:2]
    done = Done(job, height, width, len(data))
    packet, jpeg = bitstream.unpack(data), None
    if not options.no_psnr:
        pixels = codec.decode(packet, picture.pixels.size)
        seen = image_files.picture_from(pixels, packet.extras).pixels
        reached = cli_files.psnr(picture.pixels, seen, picture.alpha)
        done = dataclasses.replace(done, psnr=reached)
        jpeg = cli_files.jpeg_of(picture.pixels, reached, picture.alpha)
    coded = len(data) - sum(map(len, packet.extras.values()))
    return dataclasses.replace(done, warning=cli_files.warning(done, size, coded, jpeg))


def _decompress(options: argparse.Namespace) -> int:
    suffix = _suffix_of(options.format or _DEFAULT_FORMAT)
    todo = _jobs(options, suffix, [CODED])
    if len(todo.checked) == 1 and todo.checked[0].out != STREAM:
        allowed = [
            suffix
            for suffix, format in image_files.SUFFIXES.items()
            if options.format in (None, format)
        ]
        _check_suffix(todo.checked[0].out, allowed)
    given = None if options.codec is None else _loaded(options.codec)
    named = functools.cache(loading.load)

    def one(job: Job) -> Done:
        data = _read_bytes(job.source)
        packet = bitstream.unpack(data)
        codec = given or named(_name_of(packet))
        with _progress(packet.height * packet.width) as progress:
            pixels = codec.decode(packet, options.largest_image, progress)
        picture = image_files.picture_from(pixels, packet.extras)
        out = sys.stdout.buffer if job.out == STREAM else job.out
        image_files.write(picture, out, options.format)
        return Done(job, packet.height, packet.width, len(data))

    return _do(todo, one, options)


def _name_of(packet: Packet) -> str:
    if packet.model not in loading.PACKAGED:
        raise ValueError(
            f"the file was written by codec {packet.model!r}, which is not in this "
            "package; give its weights with --codec"
        )
    return packet.model


@dataclasses.dataclass(frozen=True)
class _Todo:
    """What is to be done.

    Attributes:
      checked: jobs whose outputs can be written.
      refused: the others, with the reason.
      skipped: how many were left out, since their outputs exist.
      several: whether each is to be told of by its name.
    """

    checked: list[Job]
    refused: list[tuple[Job, str]]
    skipped: int
    several: bool


def _jobs(
    options: argparse.Namespace, suffix: str, sources: Sequence[str] | frozenset[str]
) -> _Todo:
    """What is to be done, with every output checked before the first is made."""
    found = cli_files.jobs(options.paths, suffix, sources)
    if options.json and options.paths[-1] == STREAM:
        raise UsageError("--json and the output cannot both be on standard output")
    # A folder may have one file in it; still it is told about as a folder.
    several = found != [Job(options.paths[0], options.paths[-1])]
    if several:
        for job in found:
            _make_folder(Path(job.out).parent)
    checked, wrong, skipped = [], [], 0
    inputs = [job.source for job in found]
    for job in found:
        if options.skip_existing and Path(job.out).is_file():
            skipped += 1
            continue
        reason = cli_files.refused(job.out, options.force, inputs)
        if reason is None:
            checked.append(job)
        else:
            wrong.append((job, reason))
    if wrong and not several:
        raise UsageError(wrong[0][1])
    return _Todo(checked, wrong, skipped, several)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error}") from error


def _do(todo: _Todo, work: Callable[[Job], Done], options: argparse.Namespace) -> int:
    """Does all jobs and tells what has become of them, also when interrupted."""
    account, status = _Account(todo, options), SUCCESS
    for job, reason in todo.refused:
        account.failure(job, reason)
    try:
        cli_files.each(
            todo.checked, work, account.failure, account.success, USER_ERRORS
        )
    except KeyboardInterrupt:
        complain(PROGRAM, "interrupted")
        status = INTERRUPTED
    account.close()
    return status or (FAILED if account.failed else SUCCESS)


class _Account:
    """What has become of the files, told at once and in the end."""

    def __init__(self, todo: _Todo, options: argparse.Namespace) -> None:
        self._todo = todo
        self._json, self._command = options.json, options.command
        self.done: list[Done] = []
        self.failed: list[tuple[Job, str]] = []

    def failure(self, job: Job, reason: str) -> None:
        self.failed.append((job, reason))
        # Most reasons name the file.
        named = reason if job.source in reason else f"{job.source}: {reason}"
        complain(PROGRAM, named if self._todo.several else reason)

    def success(self, number: int, found: Done) -> None:
        self.done.append(found)
        if found.warning:
            where = f"{found.job.out}: " if self._todo.several else ""
            complain(PROGRAM, f"warning: {where}{found.warning}")
        if self._json:
            return
        if self._todo.several:
            names = f"{found.job.source} -> {found.job.out}"
            _tell(f"[{number}/{len(self._todo.checked)}] {names}: {found.line()}")
        elif self._command == "compress":
            _tell(found.line())

    def close(self) -> None:
        todo = self._todo
        total = len(todo.checked) + len(todo.refused) + todo.skipped
        summary = cli_files.summary(self.done, len(self.failed), todo.skipped, total)
        if self._json:
            files = [found.record() for found in self.done]
            files += [
                {**dataclasses.asdict(job), "error": reason}
                for job, reason in self.failed
            ]
            print(json.dumps({"files": files, "summary": summary}, indent=2))
        elif self._todo.several:
            _tell(cli_files.summary_line(summary))


def _tell(line: str) -> None:
    console(stderr=True).print(line)


def _loaded(name: str) -> TrainedCodec:
    try:
        return loading.load(name)
    except loading.UnknownCodecError as error:
        raise UsageError(str(error)) from error


def _check_rate(codec: TrainedCodec, options: argparse.Namespace) -> None:
    """What shows before a picture is read."""
    last = codec.rates[-1]
    if options.rate is not None and not 0 <= options.rate <= last:
        raise UsageError(
            f"rate is {options.rate}, expected 0 to {last:g} for {codec.name}"
        )
    targets = {"target_bpp": options.target_bpp, "target_psnr": options.target_psnr}
    for name, value in targets.items():
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}, expected a number above 0")
        if value is not None and not last:
            raise UsageError(f"{codec.name} has a single rate: no target can be chosen")


def _check_suffix(out: str, suffixes: Sequence[str]) -> None:
    path = Path(out)
    # /dev/stdout, or a pipe of the shell.
    if path.exists() and not path.is_file():
        return
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"expected a file name with one of {', '.join(suffixes)} for the output, "
            f"found {path.name!r}"
        )


def _suffix_of(format: str) -> str:
    return next(s for s, found in image_files.SUFFIXES.items() if found == format)


def _info(options: argparse.Namespace) -> None:
    data = _read_bytes(options.source)
    packet = bitstream.unpack(data)
    strings = sum(map(len, packet.strings))
    extras = {name: len(value) for name, value in packet.extras.items()}
    bpp = 8 * len(data) / (packet.width * packet.height)
    if options.json:
        found = {
            "codec": packet.model,
            "fingerprint": packet.fingerprint.hex(),
            "width": packet.width,
            "height": packet.height,
            "rate": packet.rate / 256,
            "bytes": len(data),
            "picture_bytes": strings,
            "bpp": bpp,
            "extras": extras,
        }
        print(json.dumps(found, indent=2))
        return
    rows = {
        "codec": f"{packet.model} {packet.fingerprint.hex()}",
        "size": f"{packet.width} x {packet.height}",
        "rate": f"{packet.rate / 256:g}",
        "bytes": f"{len(data)}, of which {strings} are the picture",
        "bits per pixel": f"{bpp:.4f}",
        "extras": ", ".join(f"{name} {size}" for name, size in extras.items())
        or "none",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    console().print(table)


def _models(options: argparse.Namespace) -> None:
    codecs = {name: loading.load(name) for name in loading.PACKAGED}
    if options.json:
        found = [
            {
                "name": name,
                "architecture": codec.config.to_dict(),
                "rates": codec.rates,
                "default": name == loading.DEFAULT,
            }
            for name, codec in codecs.items()
        ]
        print(json.dumps(found, indent=2))
        return
    table = Table("name", "architecture", "rates")
    for name, codec in codecs.items():
        table.add_row(name, codec.description, f"0 to {codec.rates[-1]:g}")
    console().print(table)


def _freeze(options: argparse.Namespace) -> None:
    # With a folder that is not there, the folder is what is wrong.
    out = options.out or options.run / loading.FROZEN
    if options.out or options.run.is_dir():
        _check_weights_file(out, options.force)
    codec, record = freezing.freeze_run(options.run, options.name)
    loading.save(codec, out, record)
    console().print(f"{out}: {out.stat().st_size} bytes, {codec.fingerprint.hex()}")


def _convert(options: argparse.Namespace) -> None:
    _check_weights_file(options.out, options.force, [str(options.source)])
    found = compressai.read_compressai(options.source)
    codec = TrainedCodec(
        options.name,
        found.config,
        found.params,
        (),
        found.prior_tables,
        found.scale_tables,
    )
    loading.save(codec, options.out, {"source": str(options.source)})


def _check_weights_file(out: Path, force: bool, sources: Sequence[str] = ()) -> None:
    _check_suffix(str(out), [".npz"])
    reason = cli_files.refused(out, force, sources)
    if reason:
        raise UsageError(reason)


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
        files.replace_file(out, data)


@contextmanager
def _progress(pixels: int) -> Iterator[Progress]:
    """A bar on stderr for each stage, for pictures that take a while."""
    if pixels < _SHOWS_PROGRESS:
        yield lambda stage, share: None
        return
    with rich.progress.Progress(console=console(stderr=True)) as bar:
        add = functools.lru_cache(None)(lambda stage: bar.add_task(stage, total=1.0))
        yield lambda stage, share: bar.update(add(stage), completed=share)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Warnings of the packages as lines of this program, without their source code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: complain(
            PROGRAM, f"warning: {message}"
        )
        yield


if __name__ == "__main__":
    sys.exit(start())
