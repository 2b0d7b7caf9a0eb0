#!/bin/bash
# Tests of the command `lowtide`; closes with counts. usage: test/command/run.sh [PYTEST ARGUMENT...]
set -u
cd "$(dirname "$0")"
python=/usr/bin/python3     # the system's, for which pytest is installed
[ -x $python ] || python=python3
exec $python -B -m pytest -q -p no:cacheprovider --tb=short -rf "${@:-.}"
