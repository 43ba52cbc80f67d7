"""Podman in namespaces of its own, in the place of a Docker engine: it builds what the Dockerfiles say, and does what
docker-compose asks it to. Images, volumes, bridges and filters are gone with it; nothing of the host's is touched.
KAMSYNC_DOCKER names a folder that keeps the images, so that a further run need not build them again.

Not Docker's: the engine, its builder, its bridge. The same: the steps, the file systems, the users and rights, the wiring."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import threading

import box
from harness import REPO, Process, wait_until

NEEDED = ('podman', 'crun', 'debootstrap')
# Where no right to raise limits is given, crun must not try.
SETTINGS = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
tmp_dir = "{0}/tmp"
[network]
network_backend = "netavark"
network_config_dir = "{0}/networks"
"""
STORAGE = """[storage]
driver = "overlay"
graphroot = "{0}/graph"
runroot = "{0}/run"
"""
MOUNT = """set -e
for mounted in $(awk '$2 ~ "^/sys/fs/cgroup" { print $2 }' /proc/mounts | sort -r); do umount -l $mounted; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
"""
# Docker leaves what stays within a bridge alone; podman would give it the bridge's address, if br_netfilter shows it to
# iptables.
START = MOUNT + """mount -t tmpfs tmpfs /run
ip link set lo up
[ ! -e /proc/sys/net/bridge ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables
exec podman system service -t 0 unix:///run/podman.sock
"""
WITH_HOST_NETWORK = MOUNT + 'exec podman "$@"'  # since apt needs it
NAMESPACES = 'unshare --mount --propagation private --net --pid --fork --kill-child --mount-proc'.split()
# As Docker's slim images are made: no documentation, no translations.
SLIM = """cd "$1"
rm -rf usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/* var/cache/apt/* var/lib/apt/lists/* var/log/*
for part in doc man info locale; do echo "path-exclude /usr/share/$part/*"; done >etc/dpkg/dpkg.cfg.d/docker
cat >etc/apt/apt.conf.d/docker-clean <<TEXT
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
TEXT
echo force-unsafe-io >etc/dpkg/dpkg.cfg.d/docker-apt-speedup
"""


def compose_program():
    """The second version or a later one: KAMSYNC_COMPOSE, or alone, or as Docker's plugin."""
    plugin = '/usr/libexec/docker/cli-plugins/docker-compose'
    for program in (os.environ.get('KAMSYNC_COMPOSE'), shutil.which('docker-compose'), plugin):
        if program and os.path.exists(program) and box.output(program, 'version', '--short')[0] != '1':
            return program
    return None


def why_not():
    """What is missing to run this here, or None."""
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing:
        return f'needs {", ".join(missing)}'
    return None if compose_program() else 'needs docker-compose 2, which Debian 13 has'


def slim(release, folder):
    """A Debian as small as Docker's own, as a tar file."""
    root = folder / 'slim'
    subprocess.run(['debootstrap', '--variant=minbase', release, root, box.mirror()], check=True, stdout=subprocess.DEVNULL)
    (root / 'etc/apt/apt.conf.d/90host').write_text(box.output('apt-config', 'dump', 'Acquire'))
    subprocess.run(['sh', '-ec', SLIM, 'sh', root], check=True)
    subprocess.run(['tar', '-C', root, '-cf', folder / 'slim.tar', '.'], check=True)
    shutil.rmtree(root)
    return folder / 'slim.tar'


class Engine(Process):
    def __init__(self, folder):
        super().__init__('podman', str(folder))
        self.folder = pathlib.Path(os.environ.get('KAMSYNC_DOCKER', folder))
        subprocess.run(['rm', '-rf', *[self.folder / name for name in ('run', 'networks', 'tmp')]], check=True)
        for name in ('networks', 'tmp'):
            (self.folder / name).mkdir(parents=True)
        for name, text in (('containers', SETTINGS), ('storage', STORAGE)):
            (self.folder / f'{name}.conf').write_text(text.format(self.folder))
        self.environment = ['env', f'CONTAINERS_CONF={self.folder}/containers.conf',
                            f'CONTAINERS_STORAGE_CONF={self.folder}/storage.conf', 'DOCKER_HOST=unix:///run/podman.sock']

    def podman(self, *argv):
        """Before start(), when it is alone with the images."""
        inside = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', WITH_HOST_NETWORK, 'sh']
        out = subprocess.run([*self.environment, *inside, *argv], capture_output=True, text=True, cwd=REPO, check=False)
        assert out.returncode == 0, f'{argv}\n{out.stdout[-3000:]}{out.stderr[-3000:]}'
        return out.stdout

    def base(self, release, tag):
        self.podman('rm', '--all', '--force')
        self.podman('volume', 'prune', '--force')
        if not self.podman('images', '--quiet', tag):
            self.podman('import', '--quiet', slim(release, self.folder), tag)

    def build(self, file, target, tag):
        self.podman('build', '--quiet', '--format', 'docker', '--isolation', 'chroot', '--network', 'host', '--file', file,
                    '--target', target, '--tag', tag, '.')

    def start(self):
        self.launch([*self.environment, *NAMESPACES, 'sh', '-c', START])
        wait_until(lambda: self.init() and self.run('test', '-S', '/run/podman.sock').returncode == 0, 20, self.tail, every=0.1)
        return self

    def init(self):
        """The pid of podman's service, as we see it."""
        pid = self.popen.pid
        return pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().strip()

    def run(self, *argv):
        return subprocess.run([*self.environment, 'nsenter', f'--target={self.init()}', '--mount', '--net', '--pid', *argv],
                              capture_output=True, text=True, check=False)

    def compose(self, *argv):
        out = self.run(compose_program(), '--file', f'{REPO}/docker/compose.yaml', *argv)
        assert out.returncode == 0, f'{argv}\n{out.stdout[-3000:]}{out.stderr[-3000:]}{self.tail()}'
        return out.stdout

    def inside(self, service, *argv):
        """A command in a container: its output, or None if it failed."""
        out = self.run('podman', 'exec', f'kamsync-{service}-1', *argv)
        return out.stdout if out.returncode == 0 else None

    @contextlib.contextmanager
    def checked_health(self):
        """Podman leaves it to systemd to call the health checks, so something else must where there is none."""
        stop = threading.Event()

        def check():
            while not stop.wait(1):
                for name in self.run('podman', 'ps', '--format', '{{.Names}}').stdout.split():
                    self.run('podman', 'healthcheck', 'run', name)
        thread = threading.Thread(target=check)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def end(self):
        """A folder that stays must have no containers and volumes of the last run."""
        self.compose('down', '--volumes', '--timeout', '1')
        self.kill()
