#!/bin/sh
# install_once.sh FILE FOLDER: installs a file unless it is there, since its operator may have changed it.
set -eu
[ -e "${DESTDIR:-}$2/${1##*/}" ] || install -D -m 644 "$1" "${DESTDIR:-}$2/${1##*/}"
