"""Makes `torch_zip.pt` and `torch_stream.pt`, with torch 2.14.1: both formats it writes.

python tests/golden/torch_files.py        # in an environment with PyTorch
"""

from collections import OrderedDict
from pathlib import Path

import torch

if __name__ == "__main__":
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    value = OrderedDict(
        transposed=base.permute(2, 0, 1),
        row=base[1, 2],
        parameter=torch.nn.Parameter(base[:1] / 7),
        half=torch.tensor([0.5, -2.0], dtype=torch.float16),
        count=torch.tensor(2**40),
        flags=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
        epoch=3,
        names=["a", ("b", 2.5, None, True)],
    )
    value._metadata = {"version": 1}
    folder = Path(__file__).parent
    torch.save(value, folder / "torch_zip.pt")
    torch.save(value, folder / "torch_stream.pt", _use_new_zipfile_serialization=False)
