#!/bin/sh
# Gives this network namespace the anycast address, and keeps the namespace: Kamailio and kamsyncd join it, and need no right to
# change it.
set -eu
ip address replace "$ANYCAST_IP/32" dev lo
trap exit TERM
sleep infinity &
wait
