#!/usr/bin/env bash
# kamailio.sh WHICH…: prints the commands of other Kamailios than the installed one, for KAMSYNC_KAMAILIOS (lab/kamailios.py).
# 5.8.8, a tag, or master, of its repository: built from source, with the modules that the tests load (as root, for its packages).
# debian13 or another platform of tests/platform.sh: out of its root, by its own loader. own: the installed one.
set -eu -o pipefail
cd "$(dirname "$0")/.."

REPOSITORY=https://github.com/kamailio/kamailio
BUILDS=$PWD/build/kamailio
ROOTS=${KAMSYNC_ROOTS:-/var/cache/kamsync/roots}
NEEDS="git make gcc bison flex libjansson-dev libev-dev libhiredis-dev libevent-dev"
MODULES="acc async cfg_rpc cfgutils corex counters ctl db_text debugger dialog dispatcher dlgs dmq evapi htable jansson
  jsonrpcs kex maxfwd mqueue nathelper ndb_redis outbound permissions pike pv registrar rr rtimer rtpengine sanity
  siputils sl textops textopsx tm tmx topoh topos uac usrloc xlog"

from_source() {
  local to=$BUILDS/$1 source=$BUILDS/$1.source
  [ ! -x "$to/sbin/kamailio" ] || return 0
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $NEEDS
  rm -rf "$to" "$source"
  git clone -q --depth 1 --branch "$1" $REPOSITORY "$source"
  make -C "$source" PREFIX="$to" group_include=none include_modules="$(echo $MODULES)" cfg
  make -C "$source" -j"$(nproc)" all
  make -C "$source" install
  rm -rf "$source"
}

# What is in a root finds its libraries there.
from_root() {
  local root=$ROOTS/$1 libraries
  [ -x "$root/usr/sbin/kamailio" ] || tests/platform.sh "$1" true
  libraries=$(dirname "$(find "$root/usr/lib" -path '*/kamailio/modules/tm.so')")
  echo "$root/usr/bin/ld.so --library-path ${libraries%/kamailio/modules} $root/usr/sbin/kamailio -L $libraries"
}

command_of() {
  case $1 in
    own) echo kamailio ;;
    debian*) from_root "$1" ;;
    [0-9]* | master)
      from_source "$1" >&2
      echo "$BUILDS/$1/sbin/kamailio"
      ;;
    *) echo "tests/kamailio.sh: unknown Kamailio '$1': 5.8.8, debian13 or own" >&2; exit 2 ;;
  esac
}

for which; do command_of "$which"; done | paste -sd ';'
