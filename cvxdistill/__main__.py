"""`python -m cvxdistill`."""

import sys

from cvxdistill.cli import main

sys.exit(main())
