#!/usr/bin/env bash
# asterisk.sh: prints the command of an Asterisk, for KAMSYNC_ASTERISK (e2e/lab/agents.py), since Debian 12 and 13 have none (as root).
# It is that of Debian's sid, unpacked in build-debian-sid/, and is run by the loader and the libraries of sid's root (platform.sh).
set -eu -o pipefail
cd "$(dirname "$0")/.."

ROOT=${KAMSYNC_ROOTS:-/var/cache/kamsync/roots}/debian-sid
UNPACKED=$PWD/build-debian-sid/build/asterisk

# There, where this folder is build/asterisk.
unpack() {
  local deb
  apt-get clean
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends --download-only asterisk
  rm -rf build/asterisk.new
  for deb in /var/cache/apt/archives/*.deb; do dpkg -x "$deb" build/asterisk.new; done
  mv build/asterisk.new build/asterisk
}

command_of() {
  local modules libraries
  [ -x "$UNPACKED/usr/sbin/asterisk" ] || tests/platform.sh debian-sid tests/asterisk.sh --unpack >&2
  modules=$(find "$UNPACKED/usr/lib" -path '*/asterisk/modules')
  libraries=${modules%/asterisk/modules}
  echo "$ROOT/usr/bin/ld.so --library-path $libraries:$ROOT/usr/lib/${libraries##*/} $UNPACKED/usr/sbin/asterisk"
}

case ${1:-} in
  --unpack) unpack ;;
  *) command_of ;;
esac
