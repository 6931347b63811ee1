"""Write drawn pictures: `python -m data.synthetic --out DIR`, `--clips DIR` or `--examples DIR`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data.synthetic.export import write_clips, write_examples, write_set
from data.synthetic.geometry import airframe_types


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, draw, say where the result is."""
    parser = argparse.ArgumentParser(prog="python -m data.synthetic", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for a labelled set and its manifest.csv")
    where.add_argument("--clips", type=Path, help="folder for a clip of each type")
    where.add_argument("--examples", type=Path, help="folder for the repository's examples")
    parser.add_argument("--per-type", type=int, default=20, help="pictures of each type")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--types", nargs="+", default=airframe_types(), choices=airframe_types(), metavar="TYPE"
    )
    parser.add_argument("--width", type=int, default=640, help="pixels")
    parser.add_argument("--height", type=int, default=400, help="pixels")
    args = parser.parse_args(argv)
    if args.examples:
        paths = write_examples(args.examples)
        print(f"{len(paths)} pictures in {args.examples}")
        return 0
    if args.seed < 0:
        parser.error("--seed must not be negative")
    if args.clips:
        paths = write_clips(args.clips, args.types, seed=args.seed)
        print(f"{len(paths)} clips in {args.clips}")
        return 0
    if args.per_type < 1 or min(args.width, args.height) < 32:
        parser.error("--per-type must be positive, the frame 32 px or more")
    manifest = write_set(
        args.out,
        args.types,
        args.per_type,
        seed=args.seed,
        width=args.width,
        height=args.height,
    )
    print(f"{len(args.types) * args.per_type} pictures, listed in {manifest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
