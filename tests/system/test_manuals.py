"""The man pages: groff finds nothing wrong, and they leave nothing out."""
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import KAMSYNCD, REPO, known_options, run_kamsyncd

DAEMON = pathlib.Path(REPO, 'daemon', 'man', 'kamsyncd.8')
SETTINGS = pathlib.Path(KAMSYNCD).parent / 'man' / 'kamsyncd.conf.5'
CTL = pathlib.Path(REPO, 'daemon', 'ctl', 'kamsyncctl.1')
needs_groff = pytest.mark.skipif(not shutil.which('groff'), reason='no groff')


def squeezed(text):
    return re.sub(r'[-\s]', '', text)


def shown(page):
    """As a reader sees it, but without blanks and hyphens, which depend on the width."""
    out = subprocess.run(['groff', '-man', '-Tascii', '-P-cbou', '-ww', page], capture_output=True, text=True, check=False)
    assert out.returncode == 0 and not out.stderr
    return squeezed(out.stdout)


@needs_groff
@pytest.mark.parametrize('page, words', [(DAEMON, 'SIGUSR2'), (SETTINGS, 'redis://192.0.2.100:6379'), (CTL, 'KAMSYNC_SOCKET')])
def test_is_good(page, words):
    assert squeezed(words) in shown(page)


def test_settings_are_those_of_the_code():
    """Each with its default, as in --help."""
    entries = re.findall(r'^\.TP\n\.B (\w+)\n.+\n\.br\nDefault: \\fI(.*)\\fR', SETTINGS.read_text(), re.M)
    assert [name for name, _ in entries] == known_options()
    defaults = re.findall(r'^ +\(default: (.*?)(?:; a change needs a restart)?\)$', run_kamsyncd('--help').stdout, re.M)
    assert [default.replace('\\-', '-') for _, default in entries] == defaults


@needs_groff
def test_texts_are_those_of_the_code():
    page = shown(SETTINGS)
    for text in re.findall(r'^  [a-z_]+ +(.*)$', run_kamsyncd('--help').stdout, re.M):
        assert squeezed(text) in page


def test_daemon_knows_all_of_its_command_line():
    page = DAEMON.read_text().replace('\\-', '-')
    usage = run_kamsyncd('--help').stdout
    for word in set(re.findall(r'--[a-z]+|SIG[A-Z0-9]+', usage)):
        assert word in page
