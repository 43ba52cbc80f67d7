"""A fresh Debian that runs its own systemd, in namespaces of its own: what it does to itself, it does to nothing else.

Its base is made by debootstrap and kept; what is written goes into memory, and is gone with the box."""
import os
import pathlib
import subprocess
import tempfile

from harness import Process, wait_until
from systemd import INIT, NAMESPACES, own_cgroup

CACHE = pathlib.Path(os.environ.get('KAMSYNC_ROOTS', '/var/cache/kamsync/roots'))
INCLUDE = 'systemd,systemd-sysv,netbase,iproute2'
NODES = ('null', 'zero', 'full', 'random', 'urandom', 'tty')
ENVIRONMENT = ['env', '-i', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root',
               'DEBIAN_FRONTEND=noninteractive', 'LC_ALL=C.UTF-8']
# $1: folder for all that is written; $2: the layers below it
MOUNT = f"""
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in {' '.join(NODES)}; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
for folder in run tmp dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
"""
# $3: the cgroup
BOOT = f"""set -e
mkdir "$3"
echo $$ >"$3/cgroup.procs"
exec {' '.join(NAMESPACES)} --net sh -ec '
mount -t tmpfs tmpfs "$1"
{MOUNT}
mount -t cgroup2 cgroup2 sys/fs/cgroup
pivot_root . mnt
umount -l /mnt
exec {' '.join(ENVIRONMENT)} container=test {INIT} --system --unit=basic.target --log-target=journal --show-status=0
' sh "$@"
"""
# $3…: packages, of which those that they need are fetched: a box has no network.
FETCH = f"""set -e
exec unshare --mount --propagation private --pid --fork --kill-child sh -ec '{MOUNT}
shift 2
cp "$@" root
cp -L /etc/resolv.conf etc
printf "APT::Get::Assume-Yes \\"true\\";\\n" >etc/apt/apt.conf.d/91yes
exec chroot . {' '.join(ENVIRONMENT)} sh -ec "apt-get update; apt-get install -y --download-only redis-server /root/*.deb"
' sh "$@"
"""


def output(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def mirror():
    """Of Debian, as the host's apt knows it."""
    found = output('apt-get', 'indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages', 'Label: Debian')
    assert found, 'apt has no mirror of Debian here: apt-get update'
    return found.splitlines()[0]


def base(release):
    """The folder with a Debian as debootstrap makes it; made if it is not there. Its apt has the host's settings (a proxy)."""
    root, new = CACHE / f'fresh-{release}', CACHE / f'fresh-{release}.new'
    if root.exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(['rm', '-rf', new], check=True)
    subprocess.run(['debootstrap', '--variant=minbase', f'--include={INCLUDE}', release, new, mirror()],
                   check=True, stdout=subprocess.DEVNULL)
    (new / 'etc/apt/apt.conf.d/90host').write_text(output('apt-config', 'dump', 'Acquire'))
    new.rename(root)
    return root


def fetch(release, debs, folder):
    """A layer over the base, with these packages in /root, and all that they depend on in apt's cache."""
    out = subprocess.run(['sh', '-c', FETCH, 'sh', folder, base(release), *debs], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout[-2000:] + out.stderr[-2000:]
    return folder / 'upper'


class Box:
    def __init__(self, layers, folder):
        self.layers, self.written = ':'.join(map(str, layers)), tempfile.mkdtemp(dir=folder)
        self.process = Process('box', str(folder))
        self.cgroup = own_cgroup() / f'kamsync-box-{os.getpid()}'

    def boot(self):
        self.process.launch(['sh', '-c', BOOT, 'sh', self.written, self.layers, self.cgroup])
        wait_until(lambda: self.init() and self.run('systemctl is-active basic.target', check=False).returncode == 0, 20,
                   lambda: f'the boot: {self.process.tail()}', every=0.2)
        return self

    def init(self):
        """The pid of its systemd, as we see it."""
        pid = self.process.popen.pid
        return pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().strip()

    def run(self, command, check=True):
        """A line of shell in the box, as its root. What must succeed is shown: pytest -s is a transcript."""
        inside = ['nsenter', f'--target={self.init()}', '--mount', '--pid', '--net', '--uts', '--ipc', '--cgroup']
        out = subprocess.run([*inside, *ENVIRONMENT, 'bash', '-ec', command], capture_output=True, text=True, timeout=300,
                             cwd='/')
        if check:
            print(f'# {command.strip()}\n{out.stdout}{out.stderr}')
            assert out.returncode == 0, command
        return out

    def end(self):
        self.process.kill()
        folders = sorted(self.cgroup.glob('**/'), reverse=True)
        wait_until(lambda: all('populated 0' in (f / 'cgroup.events').read_text() for f in folders), 10, 'the end of the box')
        for folder in folders:
            folder.rmdir()
