#!/bin/bash
# get.sh PATH [ADDRESS:PORT]: succeeds if kamsyncd answers GET PATH with 200. (The images have no HTTP client but bash.)
set -eu
to=${2:-$KAMSYNCD_HTTP_LISTEN}
exec 3<>"/dev/tcp/${to%:*}/${to##*:}"
printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$to" >&3
read -r -t 2 _ code _ <&3
[ "$code" = 200 ]
