#!/bin/sh
# Holds the sources to what daemon/meson.build promises: the core is pure, each header stands alone, no file is too long.
# The last also for the scripts of kamailio-cfg.
# Usage: purity.sh SOURCE_ROOT COMPILER [FLAGS for the headers…]
set -u
root=$1
shift
cd "$root/daemon" || exit 1
bad=0

complain() {
    echo "$1"
    bad=1
}

# The file without comments and texts, in which a word like "time (ms)" is harmless.
code() {
    perl -0777 -pe 's{"(?:\\.|[^"\\])*"|\x27(?:\\.|[^\x27\\])+\x27|/\*.*?\*/|//[^\n]*}{$& =~ m{^/} ? "" : "0"}gse' "$1"
}

include='^[[:space:]]*#[[:space:]]*include[[:space:]]*'
forbidden='<(uv|microhttpd|hiredis[^>]*|hiredis/.*|time|sys/(time|socket|select|epoll|stat|types|uio)|poll|netinet/.*|arpa/.*|netdb'
forbidden="$forbidden|unistd|fcntl|pthread|threads|signal|openssl/rand)\.h>"

calls='clock|clock_[a-z]+|gettimeofday|time|times|localtime(_r)?|gmtime(_r)?|mktime|nanosleep|usleep|sleep|alarm'
calls="$calls|s?rand(_r)?|s?random(_r)?|[delmnj]rand48|arc4random[a-z_]*|getrandom|getentropy|RAND_[a-z_]*bytes"
calls="$calls|rand_(u16|u32|u64|char|str|bytes)|tmr_[a-z_]+|sys_[um]sleep"
calls="$calls|socket|connect|bind|listen|accept4?|send(to|m?msg)?|recv(from|m?msg)?|getaddrinfo|poll|select|ioctl"
calls="$calls|open(at)?|f?open|f?read|f?write|close|f?printf|f?puts|perror|getenv|abort|exit|signal|fork|system"
calls="$calls|pthread_[a-z_]+|uv_[a-z0-9_]+|redis[A-Z][A-Za-z]*"

for f in core/*.[ch] core/*/*.[ch]; do
    grep -nE "$include$forbidden" "$f" && complain "$f: the core must not include that"
    grep -nE "$include\"(\.\.|core/|hep/|http/|io/|config|log|daemon)" "$f" && complain "$f: the core must not know what is around it"
    code "$f" | grep -E "(^|[^A-Za-z0-9_.>])($calls)[[:space:]]*\(" && complain "$f: the core must not call that"
done

rooms=$(for room in core/*/; do echo "-I$room"; done)

for f in *.h core/*.h core/*/*.h hep/*.h http/*.h io/*.h; do
    # Twice, so that a missing include guard shows as well.
    printf '#include "%s"\n#include "%s"\n' "$f" "$f" |
        "$@" -I. -Icore $rooms -Iio -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Werror -fsyntax-only -x c - ||
        complain "$f does not stand alone"
done

for f in *.c core/*.[ch] core/*/*.[ch] hep/*.[ch] http/*.[ch] io/*.[ch] ../kamailio-cfg/*.cfg ../kamailio-cfg/*/*.cfg \
    ../tests/unit/*.c ../tests/unit/worlds/*.c; do
    lines=$(wc -l <"$f")
    [ "$lines" -le 600 ] || complain "$f: $lines lines, more than 600"
done

exit $bad
