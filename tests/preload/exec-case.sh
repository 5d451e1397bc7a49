#!/bin/bash
# PURPOSE: the inside of one run of one case: switches the library on and calls run().
#   Started by run-case.sh as `exec-case.sh NAME LIB MODE STRESS`.
set -eu
# shellcheck source=tests/preload/harness.sh
. "$HERE/harness.sh"
# shellcheck disable=SC1090
. "$HERE/cases/$1.sh"

case $3 in
plain) ;;
preload) export LD_PRELOAD="$2" ;;
stress) export LD_PRELOAD="$2" GCALLOC_DEBUG="gcstress=$4,gctrace=1" ;;
manual) export LD_PRELOAD="$2" GCALLOC_MODE=manual ;;
*) exit 99 ;;
esac
# A case lists the statuses that it expects by `status`; errexit would hide the rest of it.
set +e
run
