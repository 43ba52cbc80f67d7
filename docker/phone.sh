#!/bin/sh
# phone.sh gateway, or phone.sh SCENARIO DIALED [OPTION…]: SIPp plays one of tests/e2e/cfg/scenarios until it is stopped. What came
# of it is in /tmp/stat.csv.
set -eu
scenario=$1
shift
sed "s/LOCALPORT/5060/g" "/scenarios/$scenario.xml" >/tmp/scenario.xml
if [ "$scenario" = gateway ]; then
  set -- -p 5060
else
  run=$(date +%s)
  dialed=$1
  shift
  set -- "$ANYCAST_IP:5060" -s "$dialed" -cid_str "$scenario-%u-$run@lab" -key run "$run" -key pad "" \
    -recv_timeout 32000 -default_behaviors all,-bye "$@"
fi
exec sipp -sf /tmp/scenario.xml -i "$PHONE_IP" -nostdin -trace_stat -stf /tmp/stat.csv -fd 5 -f 3600 "$@" >/dev/null
