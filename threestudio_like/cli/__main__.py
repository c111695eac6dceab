"""Makes `python -m threestudio_like.cli` the launcher."""

import sys

from threestudio_like.cli import main

if __name__ == "__main__":
    sys.exit(main())
