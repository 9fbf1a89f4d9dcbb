#!/usr/bin/env bash
# Installs what the tests need, builds, runs every test; ends with "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset dev >/dev/null && cmake --build build/dev
ctest --test-dir build/dev --output-on-failure
