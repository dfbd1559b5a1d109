#!/bin/sh
# Plugin of node-problem-detector (custom plugin monitor): the condition LostbeatProblem is true while the recorder has
# a finding of severity critical.
#
# node-problem-detector knows three statuses: 0 for no problem, 1 for a problem, others for unknown. `lostbeat check`
# has four: 0 no fault, 1 warning, 2 critical, 3 unknown. A warning is no problem of the node; LOSTBEAT_WARNINGS=1 makes
# it one.
set -u
lostbeat=${LOSTBEAT:-lostbeat}
line=$("$lostbeat" check --since "${LOSTBEAT_SINCE:-35s}" 2>&1)
status=$?
printf '%s\n' "$line" | head -n 1
case $status in
0) exit 0 ;;
1) exit "${LOSTBEAT_WARNINGS:-0}" ;;
2) exit 1 ;;
*) exit 2 ;;
esac
