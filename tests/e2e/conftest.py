"""Fixtures: a fresh lab for each test, and plain nodes in it."""
import os
import shutil

import pytest

from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.plain import plain_cluster
from lab.redis_tools import MASTERS, redis_tool
from lab.seeds import new_seed

NEEDED = ('ip', 'kamailio', redis_tool('server'), 'sipp')


def pytest_configure(config):
    config.addinivalue_line('markers', 'alone(why): not beside other tests (./dev test runs two files at a time)')
    config.addinivalue_line('markers', 'one_redis(why): not with a Redis Cluster as the store (./dev test --store cluster)')


def pytest_collection_modifyitems(items):
    missing = [program for program in NEEDED if not shutil.which(program)]
    if os.geteuid() != 0:
        missing.append('root (or unshare --user --map-root-user --net --mount)')
    for item in items:
        if missing:
            item.add_marker(pytest.mark.skip(f'needs {", ".join(missing)}'))
        for mark in item.iter_markers('one_redis') if MASTERS > 1 else ():
            item.add_marker(pytest.mark.skip(f'of one Redis: {mark.args[0]}'))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == 'call':
        item.failed = outcome.get_result().failed
        if item.failed:
            _keep_logs(item)


def _keep_logs(item):
    """Also of a lab that a whole module has."""
    for fixture in getattr(item, 'funcargs', {}).values():
        the_lab = fixture if isinstance(fixture, Lab) else getattr(fixture, 'lab', None)
        if isinstance(the_lab, Lab):
            the_lab.keep_logs = True
            print(f'the logs are kept in {the_lab.directory}')


@pytest.fixture(scope='module')
def seed():
    return new_seed()


@pytest.fixture
def lab(request):
    with Lab() as the_lab:
        yield the_lab
        if getattr(request.node, 'failed', False):
            _show(the_lab)
        else:
            the_lab.check()


@pytest.fixture
def plain(lab):
    """Plain Kamailio on all three nodes."""
    return plain_cluster(lab)


@pytest.fixture
def callees(lab):
    with Callees(lab) as the_callees:
        yield the_callees


@pytest.fixture
def caller(lab):
    with Caller(lab) as the_caller:
        yield the_caller


def _show(lab):
    """After a failure: every call packet by packet, every log's end."""
    lab.keep_logs = True
    print(f'the logs are kept in {lab.directory}')
    for call_id in lab.trace.call_ids()[:10]:
        print(f'{call_id}\n{lab.trace.show(call_id)}')
    for proc in lab.procs:
        if not proc.name.startswith(('caller', 'gateway')):
            print(proc.tail(15))
