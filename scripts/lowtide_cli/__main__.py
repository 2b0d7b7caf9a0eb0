"""python3 -m lowtide_cli is the command, too."""
import sys

from .main import main

sys.exit(main(sys.argv[1:]))
