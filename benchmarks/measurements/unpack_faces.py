"""Unpacks packs of aligned faces into a folder, PERSON/NAME; crops that show no face are left out.

    python -m benchmarks.measurements.unpack_faces PACK.tar... -o FOLDER

`faceid benchmark features FOLDER -o FACES.npz --labels --aligned` makes features of them.
"""

import argparse
import tarfile
from pathlib import Path

from faceid.vision.broken_crops import shows_a_face
from faceid.vision.images import ImageError, decode


def main() -> None:
    """Unpack, and say how many crops were left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", nargs="+", type=Path, metavar="PACK")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    for pack in options.packs:
        faces, left_out = unpack_faces(pack, options.output)
        print(f"{pack}: {faces:,} faces, {left_out:,} crops left out")


def unpack_faces(pack: Path, folder: Path) -> tuple[int, int]:
    """Unpack one pack; return how many faces it had, and how many crops that show none."""
    faces = left_out = 0
    with tarfile.open(pack) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None:
                continue
            if _is_face(content.read(), f"{member.name} in {pack}"):
                archive.extract(member, folder, filter="data")
                faces += 1
            else:
                left_out += 1
    return faces, left_out


def _is_face(encoded: bytes, source: str) -> bool:
    try:
        return shows_a_face(decode(encoded, source).rgb)
    except ImageError:
        return False


if __name__ == "__main__":
    main()
