#!/bin/sh
# Runs kamsyncd with settings from the environment: KAMSYNCD_HTTP_LISTEN=9190 is the line `http_listen = 9190`.
set -eu
conf=/run/kamsync/kamsyncd.conf
env | sed -n 's/^KAMSYNCD_\([A-Z0-9_]*\)=\(.*\)/\L\1\E = \2/p' >$conf
exec kamsyncd -c $conf "$@"
