"""`python -m clevagent.runner`."""

import sys

from .cli import main

sys.exit(main())
