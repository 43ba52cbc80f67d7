"""What debian/ says a second time is the same: the version is meson.build's, the packages to build with are those of ./dev deps."""
import pathlib
import re

REPO = pathlib.Path(__file__).resolve().parents[2]


def found(pattern, path):
    return re.search(pattern, (REPO / path).read_text(), re.M | re.S)[1]


def test_version():
    assert found(r'\Akamsync \((.*?)\)', 'debian/changelog') == found(r"^  version: '(.*?)'", 'meson.build')


def test_packages_to_build_with():
    """Of debhelper, only the packages themselves are made."""
    wanted = set(re.findall(r'^ ([\w.+-]+)', found(r'^Build-Depends:\n(.*?)\n\n', 'debian/control'), re.M))
    assert wanted - {'debhelper-compat'} == set(found(r'^BUILDING="(.*?)"', 'dev').split())
