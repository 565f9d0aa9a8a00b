"""python -m handfast_spec: see arguments.py. `check` runs every known answer and vector."""

import sys

from .arguments import parser
from .command import execute


def main() -> int:
    """Read the command line."""
    arguments = parser().parse_args()
    if arguments.command == "check":
        from .checker import check

        return check(arguments.vectors)
    return execute(arguments)


if __name__ == "__main__":
    sys.exit(main())
