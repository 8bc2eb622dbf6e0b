"""python -m lpss: the command `lpss`."""

import sys

from lpss.cli.main import main

sys.exit(main())
