#!/usr/bin/env bash
# platform.sh PLATFORM [COMMAND…]: runs a command, or else a shell, in this checkout on another Debian (as root).
# Its root is made with debootstrap from the mirror that apt uses here, and kept; what a command writes into it is forgotten.
# Builds are kept, in build-PLATFORM/. All mounts are in a mount namespace and all processes in a PID namespace of their own:
# the kernel ends both with this script, however it ends.
set -eu
cd "$(dirname "$0")/.."

ROOTS=${KAMSYNC_ROOTS:-/var/cache/kamsync/roots}
DAYS=30 # then the root is made again

fail() { echo "tests/platform.sh: $*" >&2; exit 2; }

# cannot PLATFORM WHY…: no fault of the checkout, so that who asks (.ci/run) can tell it from a failure.
cannot() { echo "$1: not run: ${*:2}" >&2; exit 77; }

suite_of() {
  case $1 in
    debian12) echo bookworm ;;
    debian13) echo trixie ;;
    debian-sid) echo sid ;;
    *) fail "unknown platform '$1': debian12, debian13 or debian-sid" ;;
  esac
}

# Asked of apt, which reads sources of either format; what is Debian's own, it knows only with an index.
mirror() {
  local ask=(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian') list
  list=$("${ask[@]}")
  [ -n "$list" ] || { apt-get update -qq && list=$("${ask[@]}"); }
  [ -n "$list" ] && head -n 1 <<<"$list"
}

# Mounts what a system has, below the current folder. `ip netns` needs a /run of its own, the tests with systemd a cgroup2.
mount_system() {
  local dir
  mount -t proc proc proc
  mount -t sysfs sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup || echo "tests/platform.sh: no cgroup2, so the tests with systemd will be skipped" >&2
  mount --rbind /dev dev
  for dir in run tmp; do mount -t tmpfs -o mode=1777 tmpfs $dir; done
  cp -L /etc/resolv.conf /etc/hosts etc
}

mount_at_its_path() { mkdir -p ".$1" && mount --bind "$1" ".$1"; }

# Mounts the checkout, with other build folders in it; of a worktree, the repository is elsewhere.
mount_checkout() {
  local checkout=$1 builds=$1/build-$2 git dir
  git=$(git -C "$checkout" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || true)
  mkdir -p "$checkout/"{build,build-sanitized,build-fuzz} "$builds/"{build,build-sanitized,build-fuzz}
  mount_at_its_path "$checkout"
  case $git in "" | "$checkout"/*) ;; *) mount_at_its_path "$git" ;; esac
  for dir in build build-sanitized build-fuzz; do mount --bind "$builds/$dir" ".$checkout/$dir"; done
}

# What is written goes into memory, so that the root stays as it was made.
mount_over() {
  mkdir -p "$ROOTS/over"
  mount -t tmpfs tmpfs "$ROOTS/over"
  mkdir "$ROOTS/over/upper" "$ROOTS/over/work" "$ROOTS/over/root"
  mount -t overlay -o "lowerdir=$1,upperdir=$ROOTS/over/upper,workdir=$ROOTS/over/work" overlay "$ROOTS/over/root"
  cd "$ROOTS/over/root"
}

# In the namespaces: by pivot_root, since nsenter and `ip netns exec` do not find their way back into a plain chroot.
inside() {
  local platform=$1 root=$2 checkout=$PWD
  shift 2
  if [ "$root" = "$ROOTS/$platform" ]; then mount_over "$root"; else mount --bind "$root" "$root" && cd "$root"; fi
  mount_system
  mount_checkout "$checkout" "$platform"
  pivot_root . mnt
  umount -l /mnt
  cd "$checkout"
  trap 'exit 143' INT TERM
  "$@"
}

# The namespaces end with this script.
contained() { setpriv --pdeathsig KILL unshare --mount --pid --mount-proc --fork --kill-child "$@"; }

# enter PLATFORM ROOT COMMAND…
enter() {
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 KAMSYNC_ROOTS=$ROOTS KAMSYNC_PLATFORM=$1 \
    contained tests/platform.sh --inside "$@"
}

# Debian's sid has been found with an index older than its own validity; the rest is as apt has it here.
settings() {
  apt-config dump Acquire
  echo 'Acquire::Check-Valid-Until "false";'
}

# make PLATFORM SUITE: as small as can be, and then what ./dev deps finds missing.
make() {
  local new=$ROOTS/$1.new mirror http_proxy=${http_proxy:-}
  mirror=$(mirror) || cannot "$1" "apt has no mirror of Debian here"
  eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
  export http_proxy
  rm -rf "$ROOTS/$1" "$new"
  contained debootstrap --variant=minbase --force-check-gpg "$2" "$new" "$mirror" >"$ROOTS/$1.log" 2>&1 ||
    cannot "$1" "debootstrap: $(tail -n 1 "$ROOTS/$1.log") ($ROOTS/$1.log has it all)"
  settings >"$new/etc/apt/apt.conf.d/90host"
  echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/unsafe-io" # what is lost with the power is made again
  enter "$1" "$new" ./dev deps || cannot "$1" "its packages cannot be installed"
  mv "$new" "$ROOTS/$1"
}

fresh() { [ -d "$ROOTS/$1" ] && [ -n "$(find "$ROOTS/$1.made" -mtime -$DAYS)" ] && [ "$(cat "$ROOTS/$1.made")" = "$2" ]; } 2>/dev/null

# Made again if the list of packages has changed. Who uses a root holds a lock, who makes it holds it alone.
root() {
  local made
  made="$2 $(./dev packages)"
  mkdir -p "$ROOTS"
  exec 9>"$ROOTS/$1.lock"
  flock -s 9
  fresh "$1" "$made" && return
  flock -n 9 || { echo "tests/platform.sh: waiting for those who use the old root of $1" >&2; flock 9; }
  if ! fresh "$1" "$made"; then
    echo "== making a root of $1"
    make "$1" "$2"
    echo "$made" >"$ROOTS/$1.made"
  fi
  flock -s 9
}

main() {
  local platform=${1:-} suite
  suite=$(suite_of "$platform")
  [ "$(id -u)" = 0 ] || fail "needs root"
  contained mount -t tmpfs tmpfs /mnt || cannot "$platform" "no right to mount"
  shift
  [ $# != 0 ] || set -- bash
  command -v debootstrap >/dev/null || fail "needs debootstrap: sudo ./dev deps"
  root "$platform" "$suite"
  enter "$platform" "$ROOTS/$platform" true || cannot "$platform" "its root cannot be entered"
  enter "$platform" "$ROOTS/$platform" "$@"
}

case ${1:-} in
  --inside) shift; inside "$@" ;;
  *) main "$@" ;;
esac
