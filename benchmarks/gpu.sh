#!/usr/bin/env bash
# Every measurement that needs a GPU, unattended and resumable: benchmarks/gpu.py says how.
#
#   benchmarks/gpu.sh                 everything, each step at most 9 minutes; call it again until it exits with 0
#   benchmarks/gpu.sh --minutes 9     the same, but leave after 9 minutes
#   benchmarks/gpu.sh --rehearse      all of it at toy size on the CPU, in a folder of its own
#   benchmarks/gpu.sh --list          the steps and their commands
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
[[ -x $python ]] || python=python3
export OMP_WAIT_POLICY=PASSIVE
exec "$python" benchmarks/gpu.py "$@"
