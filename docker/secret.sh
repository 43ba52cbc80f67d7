#!/bin/sh
# Makes the cluster's secret, once. It is in a volume and in no image.
set -eu
file=/var/lib/kamsync-secret/secret
[ -s $file ] && exit
umask 077
head -c 32 /dev/urandom | base64 >$file.new
mv $file.new $file
