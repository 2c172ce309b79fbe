"""Published metrics in a Python of its own, the yardstick for speed.

    PYTHON metric_reference.py THREADS

writes a line of JSON with its versions, then reads lines of JSON {"name", "size"} from its
standard input, compares two random images (n, h, w) once and answers {"seconds"}, or
{"missing"} with the reason why it cannot. Imports nothing of this project, so that its
Python needs PyTorch, piq, lpips, pytorch-msssim and DISTS-pytorch alone. Nothing is
downloaded: networks have random weights, on which their speed does not depend.
"""

import functools
import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

PACKAGES = ("torch", "piq", "lpips", "pytorch-msssim", "DISTS-pytorch")


def piq_metric(name: str, **options: Any) -> Callable[..., Any]:
    """A function of piq, values for each pair."""
    piq = importlib.import_module("piq")
    return functools.partial(getattr(piq, name), reduction="none", **options)


def lpips_metric(net: str) -> Callable[..., Any]:
    """LPIPS of its authors, with a random trunk; images in [-1, 1]."""
    lpips = importlib.import_module("lpips")
    network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    network.eval()
    return lambda x, y: network(2 * x - 1, 2 * y - 1)


def dists_metric() -> Callable[..., Any]:
    """DISTS of its authors, with a random trunk."""
    models = importlib.import_module("torchvision.models")
    published = models.vgg16
    models.vgg16 = lambda *_, **__: published(weights=None)
    try:
        network = importlib.import_module("DISTS_pytorch").DISTS()
    finally:
        models.vgg16 = published
    return network.eval()


def msssim_metric() -> Callable[..., Any]:
    """MS-SSIM of the package pytorch-msssim."""
    package = importlib.import_module("pytorch_msssim")
    return functools.partial(package.ms_ssim, data_range=1.0, size_average=False)


MAKE: dict[str, Callable[[], Callable[..., Any]]] = {
    "piq.psnr": lambda: piq_metric("psnr"),
    "piq.ssim": lambda: piq_metric("ssim", downsample=False),
    "piq.multi_scale_ssim": lambda: piq_metric("multi_scale_ssim"),
    "pytorch_msssim.ms_ssim": msssim_metric,
    "piq.gmsd": lambda: piq_metric("gmsd"),
    "piq.multi_scale_gmsd": lambda: piq_metric("multi_scale_gmsd"),
    "piq.fsim": lambda: piq_metric("fsim", chromatic=False),
    "piq.fsim chromatic": lambda: piq_metric("fsim"),
    "piq.vsi": lambda: piq_metric("vsi"),
    "piq.vif_p": lambda: piq_metric("vif_p"),
    "lpips alex": lambda: lpips_metric("alex"),
    "lpips vgg": lambda: lpips_metric("vgg"),
    "lpips squeeze": lambda: lpips_metric("squeeze"),
    "DISTS_pytorch": dists_metric,
}


@functools.cache
def made(name: str) -> Callable[..., Any]:
    """Of each metric one."""
    return MAKE[name]()


@functools.cache
def images(n: int, height: int, width: int) -> tuple[Any, Any]:
    """The same random pairs as on the other side, channels first."""
    import torch

    random = np.random.RandomState(0)
    pair = random.rand(2, n, height, width, 3).astype(np.float32)
    return tuple(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for x in pair)


def seconds(name: str, size: list[int]) -> float:
    """Of one call."""
    x, y = images(*size)
    metric = made(name)
    start = time.perf_counter()
    metric(x, y)
    return time.perf_counter() - start


def version(package: str) -> str:
    """Of an installed package, or a word that says it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Answers until its input ends."""
    import torch

    threads = int(sys.argv[1])
    torch.set_num_threads(threads)
    about = {package: version(package) for package in PACKAGES}
    print(json.dumps({**about, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        try:
            with torch.no_grad():
                answer: dict[str, Any] = {"seconds": seconds(**json.loads(line))}
        except Exception as error:  # whatever packages that are not ours may raise
            answer = {"missing": f"{type(error).__name__}: {str(error)[:200]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
