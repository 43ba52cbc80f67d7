"""docker/: the images are built by their Dockerfile, and compose.yaml makes them a cluster that calls go through.

See engine.py for what does it in Docker's place. Not run are Grafana, and the images of Redis and Prometheus that compose.yaml
names: the same programs from Debian stand in (standins.Dockerfile)."""
import csv
import json
import pathlib
import re

import pytest
import yaml

from engine import Engine, why_not
from harness import REPO, wait_until

COMPOSE = yaml.safe_load(pathlib.Path(REPO, 'docker/compose.yaml').read_text())
SERVICES = COMPOSE['services']
OURS = ('kamsyncd', 'kamailio', 'phones')
NODES = 'abc'
ALL = '192.0.2.11 192.0.2.12 192.0.2.13'
DOCKERFILE = pathlib.Path(REPO, 'docker/Dockerfile')


def release():
    return re.search(r'^ARG DEBIAN=(\w+)', DOCKERFILE.read_text(), re.M)[1]


@pytest.fixture(scope='module')
def engine(tmp_path_factory):
    """With all images."""
    if why_not():
        pytest.skip(why_not())
    made = Engine(tmp_path_factory.mktemp('engine'))
    made.base(release(), f'docker.io/library/debian:{release()}-slim')
    for target in OURS:
        made.build('docker/Dockerfile', target, f'localhost/kamsync-{target}')
    for name in ('redis', 'prometheus'):
        made.build('tests/docker/standins.Dockerfile', name, SERVICES[name]['image'])
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture(scope='module')
def cluster(engine):
    with engine.checked_health():
        engine.compose('up', '--no-build', '--detach', *[name for name in SERVICES if name != 'grafana'])
        yield engine
        print(engine.compose('logs', '--tail', '20'))


def image(engine, name):
    [found] = json.loads(engine.run('podman', 'image', 'inspect', f'localhost/kamsync-{name}').stdout)
    return found


def metric(engine, query):
    """What Prometheus answers to it, as one number."""
    out = engine.inside('prometheus', 'promtool', 'query', 'instant', 'http://127.0.0.1:9090', query)
    found = re.findall(r'=> (\S+) @', out or '')
    return float(found[0]) if found else None


def calls(engine, phone):
    """What SIPp has counted."""
    rows = list(csv.reader((engine.inside(phone, 'cat', '/tmp/stat.csv') or '').splitlines(), delimiter=';'))
    counted = dict(zip(rows[0], rows[-1])) if len(rows) > 1 else {}
    return {name: int(counted.get(f'{name}Call(C)', 0)) for name in ('Successful', 'Failed')}


def ready_nodes(engine):
    """To which the phones' router sends."""
    return re.findall(r'^ready: (.*)$', engine.run('podman', 'logs', 'kamsync-caller-1').stdout, re.M)[-1:]


def role(engine, redis):
    return (engine.inside(redis, 'redis-cli', 'role') or 'away').split()[0]


def stores(engine):
    """What each kamsyncd says of its own."""
    return {json.loads(engine.inside(f'kamsyncd-{node}', 'kamsyncctl', '--json', 'status'))['store'] for node in NODES}


def wait_calls(engine, number):
    """Until each phone has made so many more calls."""
    before = {phone: calls(engine, phone)['Successful'] for phone in ('phone-talks', 'phone-cancels')}
    for phone, count in before.items():
        wait_until(lambda: calls(engine, phone)['Successful'] >= count + number, 120, lambda: calls(engine, phone), every=1)


def test_compose_file_is_good(engine):
    shown = yaml.safe_load(engine.compose('config'))
    assert set(shown['services']) == set(SERVICES)


def test_images_of_others_have_versions():
    others = [s['image'] for s in SERVICES.values() if not s['image'].startswith('localhost/')]
    assert len(others) == 7 and all(re.search(r':v?\d+\.\d+', name) for name in others)


@pytest.mark.parametrize('name', OURS)
def test_image(engine, name):
    found = image(engine, name)
    print(f'{name}: {found["Size"] / 1e6:.0f} MB')  # pytest -s shows it
    assert found['User'] not in ('', 'root', '0')
    assert (name == 'phones') == ('Healthcheck' not in found)


@pytest.mark.parametrize('name', ('kamsyncd', 'kamailio'))
def test_no_secret_is_in_an_image(engine, name):
    files = engine.run('podman', 'run', '--rm', '--network', 'none', '--entrypoint', 'find', f'localhost/kamsync-{name}',
                       '/etc/kamsync', '/var/lib/kamsync-secret').stdout.split()
    assert '/etc/kamsync/kamsyncd.conf' in files
    assert [path for path in files if 'secret' in path] == ['/var/lib/kamsync-secret']


def test_all_nodes_become_ready(cluster):
    wait_until(lambda: ready_nodes(cluster) == [ALL], 60, lambda: ready_nodes(cluster), every=0.5)
    shown = json.loads(cluster.inside('kamsyncd-a', 'kamsyncctl', '--json', 'nodes'))
    assert {node['name']: node['state'] for node in shown['nodes']} == {'a': 'self', 'b': 'up', 'c': 'up'}


def test_nobody_may_more_than_needed(cluster):
    """No capability, a user that is not root, nothing to write to but what is mounted."""
    for service in [f'{part}-{node}' for part in ('kamsyncd', 'kamailio') for node in NODES] + ['phone-talks', 'redis']:
        status = cluster.inside(service, 'cat', '/proc/1/status')
        assert re.search(r'^CapEff:\s+0+$', status, re.M) and not re.search(r'^Uid:\s+0\b', status, re.M), service
        assert re.search(r'^NoNewPrivs:\s+1$', status, re.M), service
        assert cluster.inside(service, 'touch', '/etc/x') is None, service


def test_calls_go_through_any_node(cluster):
    wait_calls(cluster, 100)
    for phone in ('phone-talks', 'phone-cancels'):
        counted = calls(cluster, phone)
        print(phone, counted)
        assert counted['Failed'] <= counted['Successful'] / 20, 'SIPp calls a 200 before its 180 a failure'
    wait_until(lambda: (metric(cluster, 'sum(kamsync_verdict_acted_total + kamsync_verdict_owner_total)') or 0) > 50, 30,
               lambda: metric(cluster, 'sum(kamsync_strays_total)'), every=1)
    assert metric(cluster, 'count(up == 1)') == 3


def test_a_node_dies_and_comes_back(cluster):
    cluster.compose('kill', 'kamailio-b')
    wait_until(lambda: ready_nodes(cluster) == ['192.0.2.11 192.0.2.13'], 30, lambda: ready_nodes(cluster), every=0.5)
    wait_until(lambda: (metric(cluster, 'sum(kamsync_takeovers_done_total)') or 0) > 0, 30, 'a takeover', every=1)
    wait_calls(cluster, 50)
    cluster.compose('start', 'kamailio-b')
    wait_until(lambda: ready_nodes(cluster) == [ALL], 60, lambda: ready_nodes(cluster), every=0.5)
    wait_calls(cluster, 50)
    print(calls(cluster, 'phone-talks'), calls(cluster, 'phone-cancels'))


def test_the_master_dies(cluster):
    cluster.compose('kill', 'redis')
    wait_until(lambda: role(cluster, 'redis-replica') == 'master', 60, 'Sentinel', every=0.5)
    wait_until(lambda: stores(cluster) == {'up'}, 20, lambda: stores(cluster), every=0.5)
    wait_calls(cluster, 50)
    cluster.compose('start', 'redis')
    wait_until(lambda: role(cluster, 'redis') == 'slave', 60, lambda: role(cluster, 'redis'), every=0.5)
    wait_calls(cluster, 50)
