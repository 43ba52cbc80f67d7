#!/bin/bash
# The router of those who call: each single packet to the anycast address goes to any of the nodes that are ready ($NODES), which
# is anycast at its worst. In a network it is BGP that does this, and hardly ever packet by packet.
set -eu

ready() {
  local node
  for node in $NODES; do
    if timeout 1 get.sh /readyz "$node:9190" 2>/dev/null; then echo "$node"; fi
  done
}

# A table of routes for each node, and a mark for each packet that chooses the table.
set_routes() {
  local n=0 node
  for node; do
    n=$((n + 1))
    ip route replace "$ANYCAST_IP" via "$node" table $n
  done
  nft -f - <<TEXT
table ip anycast
delete table ip anycast
table ip anycast {
  chain output {
    type route hook output priority mangle
    ip daddr $ANYCAST_IP meta mark set numgen random mod $n offset 1
  }
}
TEXT
}

for mark in $(seq "$(wc -w <<<"$NODES")"); do
  ip rule add fwmark "$mark" table "$mark" 2>/dev/null || true
done
trap exit TERM
before=
while :; do
  now=$(ready)
  if [ -n "$now" ] && [ "$now" != "$before" ]; then
    set_routes $now
    before=$now
    echo "ready:" $now
  fi
  sleep 0.5 &
  wait
done
