"""The life of the packages on one node, in order: README's Install section word for word, upgrade, downgrade, removal, purge.

A fresh Debian with its own systemd does it (box.py); the packages are those that `./dev package` has built for it."""
import json
import pathlib
import re
import subprocess

import pytest

import box
import systemd
from harness import REPO, wait_until
from ringing import CALL_ID, CALLER, PHONE, Ringing

PACKAGES = pathlib.Path(REPO, 'build', 'package')
NAMES = ('kamsync', 'kamsync-kamailio')
NEWER = '99~test'
CONF, SECRET, CFG = '/etc/kamsync/kamsyncd.conf', '/etc/kamsync/secret', '/etc/kamailio/kamailio.cfg'


def readme():
    """The commands and lines of the Install section, in order, without the text between them."""
    section = re.search(r'^## Install\n(.*?)^## ', pathlib.Path(REPO, 'README.md').read_text(), re.M | re.S)[1]
    return [re.sub(r'^ {7}', '', block, flags=re.M) for block in re.findall(r'(?:^ {7}.*\n)+', section, re.M)]


APT, SETTING, CHECK, FOUR_LINES, PATCH, KAMAILIO, DOCTOR = readme()


def release():
    words = pathlib.Path('/etc/os-release').read_text()
    return re.search(r'^VERSION_CODENAME=(\w+)', words, re.M)[1]


def packages_with(version, folder):
    """The same files with a later version; in one of each, a line that the one before had not."""
    folder.mkdir()
    for name, conffile in zip(NAMES, ('etc/kamsync/kamsyncd.conf', 'etc/kamailio/kamsync.cfg')):
        [deb] = PACKAGES.glob(f'{name}_*.deb')
        there = folder / name
        subprocess.run(['dpkg-deb', '-R', deb, there], check=True)
        control = (there / 'DEBIAN/control').read_text()
        (there / 'DEBIAN/control').write_text(control.replace(deb.name.split('_')[1], version))
        with open(there / conffile, 'a') as file:
            file.write('# of a later version\n')
        subprocess.run(['dpkg-deb', '--root-owner-group', '-b', there, folder / f'{name}_{version}.deb'], check=True,
                       stdout=subprocess.DEVNULL)
    return sorted(folder.glob('*.deb'))


@pytest.fixture(scope='module')
def node(tmp_path_factory):
    """A booted Debian with both versions in /root, a Redis, and the addresses of README."""
    if systemd.why_not():
        pytest.skip(systemd.why_not())
    folder = tmp_path_factory.mktemp('node')
    layer = box.fetch(release(), [deb for name in NAMES for deb in PACKAGES.glob(f'{name}_*.deb')], folder)
    (layer / 'root/newer').mkdir()
    for deb in packages_with(NEWER, folder / 'newer'):
        deb.rename(layer / 'root/newer' / deb.name)
    made = box.Box([layer, box.base(release())], folder)
    try:
        made.boot()
        made.run(f'ip link set lo up; for a in 198.51.100.1 192.0.2.11 192.0.2.100 {PHONE} {CALLER}; do ip address add $a dev lo; done')
        made.run('apt install redis-server; systemctl stop redis-server')
        made.run('systemd-run --unit=store redis-server --bind 192.0.2.100 --protected-mode no')
        yield made
    finally:
        made.end()


def wait_up(node, *parts):
    def up():
        out = node.run('kamsyncctl status', check=False).stdout
        return all(re.search(rf'^{part} +up$', out, re.M) for part in parts)
    wait_until(up, 10, lambda: node.run('kamsyncctl status | head; journalctl -n 30', check=False).stdout, every=0.2)


def pid_of(node, unit):
    pid = node.run(f'systemctl show {unit} --value --property=MainPID').stdout.strip()
    assert pid != '0', unit
    return pid


def text_of(node, path):
    return node.run(f'cat {path}').stdout


def version(node):
    return set(node.run("dpkg-query -W -f '${Version}\\n' " + ' '.join(NAMES)).stdout.split())


def test_installation_starts_a_single_node(node):
    node.run(f'cd /root; {APT}')
    wait_up(node, 'store')
    assert 'memory://' in text_of(node, CONF)
    assert node.run('systemctl is-active kamsyncd; systemctl is-enabled kamsyncd').stdout.split() == ['active', 'enabled']
    assert node.run(f'stat -c "%U %a" {SECRET} /var/lib/kamsync/state').stdout.splitlines() == ['kamsync 400', 'kamsync 600']
    assert len(text_of(node, SECRET).strip()) >= 40
    out = node.run('systemd-analyze verify --man=no kamsyncd.service')
    assert out.stdout + out.stderr == ''


def test_check_reads_as_the_service(node):
    """Root can read a secret of its own; the service cannot, and --check says so."""
    node.run(f'chown root {SECRET}')
    out = node.run('kamsyncd --check', check=False)
    assert out.returncode == 1 and f"'{SECRET}': Permission denied" in out.stderr
    node.run(f'chown kamsync {SECRET}')
    node.run('systemctl reload kamsyncd')
    wait_until(lambda: 'settings reloaded' in node.run('journalctl -u kamsyncd').stdout, 10, 'the reload')
    assert 'good, read as user kamsync' in node.run('kamsyncd --check').stdout


def test_two_settings_make_a_cluster(node):
    node.run(f"sed -i 's|^store = .*|{SETTING.strip()}|' {CONF}")
    node.run(f'echo the-secret-of-the-first-node >{SECRET}')
    node.run(CHECK)
    wait_up(node, 'store')
    assert node.run(f'stat -c "%U %a" {SECRET}').stdout.split() == ['kamsync', '400']


def test_four_lines_are_enough(node):
    """In a small configuration without a reply_route. (Each line is there: without one, Kamailio or kamsync refuses.)"""
    listens = ''.join(f'listen=udp:{address}:5060\n' for address in ('198.51.100.1', '192.0.2.11'))
    modules = ''.join(f'loadmodule "{name}.so"\n' for name in ('tm', 'sl', 'rr', 'pv', 'xlog'))
    text = listens + modules + FOUR_LINES.replace('…\n', '') + '    t_relay();\n}\n'
    node.run(f"cat >/etc/kamailio/four.cfg <<'END'\n{text}\nEND")
    node.run('kamailio -M 16 -c -f /etc/kamailio/four.cfg')


def test_the_stock_configuration(node):
    mine = re.search(r'version: kamailio (\d+\.\d+)', node.run('kamailio -v').stdout)[1]
    node.run(PATCH.replace('5.6', mine))
    node.run(KAMAILIO)
    wait_up(node, 'kamailio', 'store')
    print(node.run(DOCTOR).stdout)


def install(node, command, want):
    """Kamailio is left alone, kamsyncd is another process, and the operator's settings and secret are as they were."""
    kept = [text_of(node, path) for path in (CONF, SECRET)]
    kamailio, kamsyncd = pid_of(node, 'kamailio'), pid_of(node, 'kamsyncd')
    node.run(f'{command} -o Dpkg::Options::=--force-confold')
    assert version(node) == {want}
    wait_up(node, 'kamailio', 'store')
    assert pid_of(node, 'kamailio') == kamailio
    assert pid_of(node, 'kamsyncd') != kamsyncd
    assert [text_of(node, path) for path in (CONF, SECRET)] == kept
    return text_of(node, '/etc/kamailio/kamsync.cfg').endswith('# of a later version\n')


def test_upgrade_and_downgrade(node):
    """A kamsync.cfg that the operator has not changed is the package's own."""
    [before] = version(node)
    assert install(node, 'apt install /root/newer/*.deb', NEWER)
    assert not install(node, f'cd /root; {APT.strip()} --allow-downgrades', before)


def test_a_call_rings_through_an_upgrade(node):
    """And the new kamsyncd knows it: it writes the call's entry."""
    [before] = version(node)
    call = Ringing(node)
    try:
        install(node, 'apt install /root/newer/*.deb', NEWER)
        call.cancel()
    finally:
        call.end()
    wait_until(lambda: CALL_ID in node.run('kamsyncctl --json cdr', check=False).stdout, 10, 'its entry', every=0.2)
    assert json.loads(node.run('kamsyncctl --json cdr').stdout)['cdr'][-1]['how'] == 'cancelled'
    install(node, f'cd /root; {APT.strip()} --allow-downgrades', before)


def test_an_upgrade_leaves_a_stopped_kamsyncd_disabled(node):
    node.run('systemctl disable --now kamsyncd')
    node.run('apt install /root/newer/*.deb -o Dpkg::Options::=--force-confold')
    assert node.run('systemctl is-active kamsyncd', check=False).stdout.strip() == 'inactive'
    node.run('systemctl enable --now kamsyncd')
    wait_up(node, 'kamailio')


def there(node, *paths):
    return [path for path in paths if node.run(f'test -e {path}', check=False).returncode == 0]


def test_removal_keeps_the_configuration(node):
    kamailio = pid_of(node, 'kamailio')
    node.run('apt remove kamsync kamsync-kamailio')
    assert not there(node, '/usr/sbin/kamsyncd', '/usr/bin/kamsyncctl', '/run/kamsync/control.sock')
    kept = [CONF, SECRET, '/etc/kamailio/kamsync.cfg', '/etc/kamailio/kamsync/strays.cfg']
    assert there(node, *kept) == kept
    assert node.run('systemctl is-active kamsyncd', check=False).stdout.strip() == 'inactive'
    assert pid_of(node, 'kamailio') == kamailio


def test_purge_leaves_nothing(node):
    node.run('apt purge kamsync kamsync-kamailio')
    assert not there(node, '/etc/kamsync', '/var/lib/kamsync', '/run/kamsync', '/etc/kamailio/kamsync.cfg',
                     '/etc/kamailio/kamsync', '/etc/systemd/system/multi-user.target.wants/kamsyncd.service')
    assert there(node, CFG) == [CFG]


def test_lintian():
    out = subprocess.run(['lintian', '--allow-root', *PACKAGES.glob('*.changes')], capture_output=True, text=True, check=False)
    assert (out.returncode, out.stdout) == (0, '')


def names_in(deb):
    """Of files and links, without what only Debian adds, and as meson has them: units in usr/lib, man pages not packed."""
    listing = subprocess.run(['dpkg-deb', '--fsys-tarfile', deb], check=True, stdout=subprocess.PIPE).stdout
    names = subprocess.run(['tar', 't'], input=listing, check=True, capture_output=True).stdout.decode().splitlines()
    names = {re.sub(r'^\./(lib/systemd)', r'./usr/\1', re.sub(r'\.gz$', '', name))[2:] for name in names if name[-1] != '/'}
    return {name for name in names if not re.fullmatch(r'usr/share/doc/[^/]+/(copyright|changelog)', name)}


def test_meson_installs_the_same(tmp_path):
    """And never over settings that somebody has changed."""
    build, root = tmp_path / 'build', tmp_path / 'root'
    subprocess.run(['meson', 'setup', '--prefix=/usr', '-Dtests=false', build, REPO], check=True, capture_output=True)
    for change in ('', '# mine\n'):
        subprocess.run(['meson', 'install', '-C', build, '--destdir', root], check=True, capture_output=True)
        with open(root / CONF[1:], 'a') as file:
            file.write(change)
    installed = {str(path.relative_to(root)) for path in root.glob('**/*') if path.is_file()}
    assert installed == set().union(*(names_in(deb) for name in NAMES for deb in PACKAGES.glob(f'{name}_*.deb')))
    subprocess.run(['meson', 'install', '-C', build, '--destdir', root], check=True, capture_output=True)
    assert (root / CONF[1:]).read_text().endswith('# mine\n')
