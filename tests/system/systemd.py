"""kamsyncd.service in a real systemd, also where none is booted: it is the first process of namespaces of its own, which has that
one unit, and a cgroup of its own. What it would leave in /run, /tmp and /var goes with its mounts."""
import os
import pathlib
import shutil
import subprocess

from harness import KAMSYNCD, SANITIZERS, WRAPPER, Daemon, Process, keys_files, wait_until

INIT = '/lib/systemd/systemd'
NAMESPACES = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--cgroup', '--uts', '--ipc', '--mount-proc']
ROOM = '/run/test'  # where the unit finds the test's own folder
# The unit asks for an ordinary boot; here is none. A leak at the end is looked for with ptrace, which the unit forbids.
DROP_IN = f"""[Unit]
DefaultDependencies=no
Wants=
After=
[Service]
ExecStart=
ExecStart={ROOM}/kamsyncd -c {ROOM}/kamsyncd.conf
User=nobody
Group=nogroup
StandardOutput=append:{ROOM}/kamsyncd.log
StandardError=append:{ROOM}/kamsyncd.log
Environment={' '.join(f'{name}={value}:detect_leaks=0' if name == 'ASAN_OPTIONS' else f'{name}={value}'
                      for name, value in SANITIZERS.items())}
WatchdogSec=1
"""
BOOT = f"""set -e
mkdir "$1" && echo $$ >"$1/cgroup.procs"
exec {' '.join(NAMESPACES)} sh -ec '
  umount -l /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -t tmpfs tmpfs /run
  mkdir {ROOM} && mount --bind "$1" {ROOM}
  for folder in /etc/systemd/system /tmp /var/tmp /var/lib; do mount -t tmpfs tmpfs $folder; done
  mkdir /etc/systemd/system/kamsyncd.service.d
  cp {ROOM}/kamsyncd.service /etc/systemd/system
  cp {ROOM}/test.conf /etc/systemd/system/kamsyncd.service.d
  exec env -i PATH="$PATH" container=test {INIT} --system --unit=kamsyncd.service --log-target=console --show-status=0
' sh "$2"
"""


def own_cgroup():
    """The folder of this process in cgroup2, or None."""
    mounts = [line.split(' ') for line in pathlib.Path('/proc/self/mounts').read_text().splitlines()]
    places = [mount[1] for mount in mounts if mount[2] == 'cgroup2']
    own = [line[3:] for line in pathlib.Path('/proc/self/cgroup').read_text().splitlines() if line.startswith('0::')]
    return pathlib.Path(places[0] + own[0]) if places and own else None


def why_not():
    """What systemd cannot be had for here; empty if it can."""
    if os.geteuid() != 0 or not os.access(INIT, os.X_OK):
        return 'needs root and systemd'
    if WRAPPER:
        return 'the unit forbids what valgrind does'
    if not own_cgroup() or not os.access(own_cgroup(), os.W_OK):
        return 'needs a cgroup2 that can be written'
    return '' if subprocess.run([*NAMESPACES, 'true'], capture_output=True).returncode == 0 else 'needs namespaces'


class Service(Daemon):
    """A kamsyncd that systemd has started from its unit."""

    def __init__(self, directory, kamailio_port, **options):
        super().__init__(str(directory), kamailio_port, control=None, secret_file=f'{ROOM}/kamsyncd.secret', **options)
        self.options |= {'secret_file': f'{ROOM}/kamsyncd.secret', 'keys_file': '/run/kamsync/keys'}
        self.kamailio_port = kamailio_port
        shutil.chown(self.secret_path, 'nobody', 'nogroup')
        self.systemd = Process('systemd', str(directory))
        self.cgroup = own_cgroup() / f'kamsync-test-{os.getpid()}'
        for path in (KAMSYNCD, pathlib.Path(KAMSYNCD).with_name('kamsyncd.service')):
            shutil.copy(path, directory)
        (directory / 'test.conf').write_text(DROP_IN)
        directory.chmod(0o755)

    def start(self):
        self.write_config()
        self.systemd.launch(['sh', '-c', BOOT, 'sh', self.cgroup, os.path.dirname(self.conf_path)])
        self.wait_log(' started: ', 10)
        children = pathlib.Path(f'/proc/{self.systemd.popen.pid}/task/{self.systemd.popen.pid}/children')
        self.root = f'/proc/{children.read_text().strip()}/root'
        keys_files[self.kamailio_port] = f'{self.root}/run/kamsync/keys'
        self.control = f'{self.root}/run/kamsync/control.sock'
        return self

    def systemctl(self, *words):
        inside = ['nsenter', f'--target={self.root.split("/")[2]}', '--mount', '--pid', '--cgroup']
        return subprocess.run([*inside, 'systemctl', *words], capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    def show(self, name):
        return self.systemctl('show', 'kamsyncd', '--value', f'--property={name}')

    def signal(self, number):
        self.systemctl('kill', '--kill-who=main', f'--signal={int(number)}', 'kamsyncd')

    def process(self):
        """What the kernel says of it."""
        return pathlib.Path(f'{self.root}/proc/{self.show("MainPID")}/status').read_text()

    def end(self):
        """All of it, with the namespaces; the cgroup is empty then."""
        self.systemd.kill()
        folders = sorted(self.cgroup.glob('**/'), reverse=True)
        wait_until(lambda: all('populated 0' in (f / 'cgroup.events').read_text() for f in folders), 10, 'the end of systemd')
        for folder in folders:
            folder.rmdir()
