"""A file that `qt256` has written, and the picture that it decodes to.

    python -m tests.golden.quadtree_file

Made once, with JAX 0.5.3; every later version has to read it. The picture is that of
`coded_files`.
"""

import numpy as np

from codec_jax import loading
from tests.golden import coded_files
from tests.golden.coded_files import Case

CASE = Case("qt256", 64, 48, 3.5, False)
FILE = coded_files.FOLDER / "qt256-64x48.npz"


def main() -> None:
    """Writes it."""
    codec = loading.load(CASE.codec)
    data = codec.compress(coded_files.picture(CASE), CASE.rate)
    np.savez_compressed(
        FILE, data=np.frombuffer(data, np.uint8), pixels=codec.decompress(data)
    )
    print(len(data))


if __name__ == "__main__":
    main()
