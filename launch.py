"""The one launcher: `python launch.py --config dreamfusion.yaml prompt="a red chair" seed=1`."""

import sys

from threestudio_like.cli import main

if __name__ == "__main__":
    sys.exit(main())
