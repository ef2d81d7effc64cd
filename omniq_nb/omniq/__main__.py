"""``python -m omniq``: the ``omniq`` command."""

import sys

from .cli import main

sys.exit(main())
