#!/bin/sh
# Runs the example's node.cfg. NODE_ID, NODE_IP, ANYCAST_IP and GATEWAY are its settings.
set -eu
exec kamailio -M 16 -DD -E -Y /tmp -f /etc/kamailio/node.cfg \
  -A NODE_ID="$NODE_ID" -A NODE_IP="\"$NODE_IP\"" -A ANYCAST_IP="\"$ANYCAST_IP\"" -A GATEWAY="\"$GATEWAY\"" "$@"
