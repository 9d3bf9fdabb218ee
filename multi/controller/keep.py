"""Starts a keeper: `python -I -S keep.py NODE RUNTIME_DIRECTORY [NEW_SPECIFICATION]`.

The keeper's modules are found as a package of their own, beside this file: going through `multi` would load what a keeper
must not carry. The node's name is there for people who look at a process list.
"""

import sys

sys.path.append(__file__.rpartition("/")[0])

from keeper.main import main  # type: ignore[import-not-found]

sys.exit(main(*sys.argv[2:]))
