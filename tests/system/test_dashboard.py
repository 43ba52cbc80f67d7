"""The dashboard for Grafana (docker/grafana/kamsync.json) and the rules, in a real Prometheus that scrapes real kamsyncds: each query
of each panel has an answer, and what has happened is seen. Grafana itself is in no Debian: nothing here has drawn the panels."""
import json
import pathlib
import re
import shutil
import subprocess
import urllib.parse

import pytest
import yaml

from harness import REPO, Process, free_port, wait_until
from http_client import get, with_http
from sip import Call
from test_alerts import ALERTS, documented, names

DASHBOARD = json.loads(pathlib.Path(REPO, 'docker/grafana/kamsync.json').read_text())
PANELS = {panel['title']: panel for panel in DASHBOARD['panels'] if panel['type'] != 'row'}
FOLDER = pathlib.Path(REPO, 'docker/prometheus')
VARIABLES = {'$instance': '.+', '$cluster': 'kamsync', '$__rate_interval': '10s'}

needs_prometheus = pytest.mark.skipif(not shutil.which('prometheus'), reason='needs prometheus')


def queries(panel):
    """{legend: expression}, with Grafana's variables filled in."""
    def filled(expression):
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        return expression
    return {target['legendFormat'] or panel['title']: filled(target['expr']) for target in panel['targets']}


class Prometheus(Process):
    def __init__(self, directory, targets):
        super().__init__('prometheus', directory)
        self.port, self.directory = free_port(), pathlib.Path(directory)
        settings = yaml.safe_load((FOLDER / 'prometheus.yml').read_text())
        settings['global'] = {'scrape_interval': '500ms', 'scrape_timeout': '500ms', 'evaluation_interval': '500ms'}
        settings['rule_files'] = [str(FOLDER / name) for name in settings['rule_files']]
        settings['scrape_configs'][0]['static_configs'] = [{'targets': targets}]
        (self.directory / 'prometheus.yml').write_text(yaml.safe_dump(settings))

    def start(self):
        self.launch(['prometheus', f'--config.file={self.directory}/prometheus.yml', f'--web.listen-address=127.0.0.1:{self.port}',
                     f'--storage.tsdb.path={self.directory}/tsdb'])
        self.wait_log('Server is ready to receive web requests', 20)
        return self

    def ask(self, path, **parameters):
        answer = get(self.port, f'/api/v1/{path}?{urllib.parse.urlencode(parameters)}').json()
        assert answer['status'] == 'success', (parameters, answer)
        return answer['data']

    def values(self, expression):
        return [float(sample['value'][1]) for sample in self.ask('query', query=expression)['result']]


@pytest.fixture
def cluster(make_kamailio, make_daemon, redis, tmp_path):
    """Two nodes that see each other, and the Prometheus that scrapes them."""
    kamailios = [make_kamailio(node).start() for node in (1, 2)]
    daemons = [with_http(make_daemon, kamailio, store=redis.url) for kamailio in kamailios]
    kamailios[0].wait_frame('node', id=2, up=1)
    kamailios[1].wait_frame('node', id=1, up=1)
    prometheus = Prometheus(str(tmp_path), [f'127.0.0.1:{daemon.port}' for daemon in daemons]).start()
    yield kamailios, prometheus
    prometheus.kill()


def wait_values(prometheus, expression, good):
    wait_until(lambda: good(prometheus.values(expression)), 20, lambda: f'{expression}: {prometheus.values(expression)}', every=0.1)


def let_calls_be_made(kamailios, redis, prometheus):
    """One that rings, whose CANCEL comes to the other node."""
    call = Call()
    wait_values(prometheus, 'min(count_over_time(kamsync_strays_total[1m]))', lambda v: v >= [2])
    kamailios[0].events(call.branch_event(), call.reply_event(180))
    wait_until(lambda: redis.do('EXISTS', call.key()), 10, 'the record')
    kamailios[1].stray(call.cancel())
    for metric in ('kamsync_calls', 'kamsync_verdict_owner_total'):  # one of each node, which are not scraped at once
        wait_values(prometheus, f'sum({metric})', lambda v: v == [1])


@needs_prometheus
def test_each_panel_shows_something(cluster, redis):
    kamailios, prometheus = cluster
    let_calls_be_made(kamailios, redis, prometheus)
    shown = {(title, legend): prometheus.values(expression)
             for title, panel in PANELS.items() for legend, expression in queries(panel).items()}
    assert len(shown) > 60 and [key for key, values in shown.items() if not values] == []
    for title, legend in (('Calls', '{{instance}}'), ('Branches and ends', 'INVITE branches'), ('Round trip', '50 %'),
                          ('Strays by verdict', 'verdict_owner'), ('The way of a stray to its owner', '99 %'),
                          ('Memory of kamsyncd', '{{instance}}'), ('Records', 'puts')):
        assert max(shown[title, legend]) > 0, (title, legend)
    assert [shown[title, title] for title in ('Nodes that should get calls', 'Alerts', 'kamsyncd away', 'Store away')] == [
        [2], [0], [0], [0]]
    assert len(shown['Versions', 'Versions']) == 2


@needs_prometheus
def test_rules_work_with_what_kamsyncd_says(cluster, redis):
    _, prometheus = cluster

    def rules():
        [group] = prometheus.ask('rules')['groups']
        return {rule['name']: rule for rule in group['rules']}
    wait_until(lambda: {rule['health'] for rule in rules().values()} == {'ok'}, 20, rules, every=0.1)
    assert set(rules()) == set(ALERTS) and prometheus.values('ALERTS') == []
    redis.kill()
    wait_until(lambda: len(rules()['KamsyncStoreAway']['alerts']) == 2, 20, rules, every=0.1)


@needs_prometheus
def test_prometheus_settings_are_good():
    out = subprocess.run(['promtool', 'check', 'config', FOLDER / 'prometheus.yml'], capture_output=True, text=True)
    assert out.returncode == 0 and f'{len(ALERTS)} rules found' in out.stdout, out.stdout + out.stderr


def test_what_panels_look_at_is_documented():
    used = names(json.dumps([panel['targets'] for panel in PANELS.values()]))
    assert len(used) > 60 and [name for name in sorted(used) if not documented(name)] == []


def test_any_grafana_can_take_it():
    """It names no data source of somebody's own; panels lie side by side, with ids of their own."""
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {'kamsync', '${datasource}'}
    assert [v['name'] for v in DASHBOARD['templating']['list']] == ['datasource', 'cluster', 'instance']
    assert len({panel['id'] for panel in DASHBOARD['panels']}) == len(DASHBOARD['panels'])
    cells = [(x, y) for panel in DASHBOARD['panels'] for place in [panel['gridPos']]
             for x in range(place['x'], place['x'] + place['w']) for y in range(place['y'], place['y'] + place['h'])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
