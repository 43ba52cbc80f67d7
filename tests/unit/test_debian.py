"""What debian/ says a second time is the same: the version is meson.build's, the packages to build with are those of ./dev deps."""
import pathlib
import re
import shutil
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]


def found(pattern, path):
    return re.search(pattern, (REPO / path).read_text(), re.M | re.S)[1]


def test_version():
    assert found(r'\Akamsync \((.*?)\)', 'debian/changelog') == found(r"^  version: '(.*?)'", 'meson.build')


@pytest.mark.skipif(not shutil.which('dpkg-architecture'), reason='dpkg-dev is not installed')
def test_architectures():
    """Where pointers have fewer than 64 bits, a static assertion in daemon/io/redis_impl.h ends the build."""
    names = found(r'^Package: kamsync\nArchitecture: (.*?)$', 'debian/control').split()
    bits = {name: subprocess.run(['dpkg-architecture', f'-a{name}', '-qDEB_HOST_ARCH_BITS'], capture_output=True, text=True,
                                 check=True).stdout.strip() for name in names}
    assert set(bits.values()) == {'64'}, bits


def test_packages_to_build_with():
    """Of debhelper, only the packages themselves are made."""
    wanted = set(re.findall(r'^ ([\w.+-]+)', found(r'^Build-Depends:\n(.*?)\n\n', 'debian/control'), re.M))
    assert wanted - {'debhelper-compat'} == set(found(r'^BUILDING="(.*?)"', 'dev').split())
