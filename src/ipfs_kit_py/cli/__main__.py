"""``python -m ipfs_kit_py.cli``."""

from ipfs_kit_py.cli.main import main

main()
