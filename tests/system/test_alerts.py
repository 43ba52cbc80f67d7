"""The alerts for Prometheus (docker/prometheus/kamsync.rules.yml): each fires when it should and then alone, is silent before, and a
restart of kamsyncd neither fires one nor hides one. Each has its paragraph in docs/operate.md.

promtool plays half an hour of three nodes; the change, on node a unless it says otherwise, is after ten minutes."""
import json
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from harness import REPO

RULES = pathlib.Path(REPO, 'docker/prometheus/kamsync.rules.yml')
[GROUP] = yaml.safe_load(RULES.read_text())['groups']
ALERTS = {rule['alert']: rule for rule in GROUP['rules']}
STEP_S = 30
STEPS_BEFORE, STEPS_AFTER = 20, 70
CHANGE_S = (STEPS_BEFORE + 1) * STEP_S
NODES = 'abc'

GAUGES = {'up': 1, 'kamsync_ready': 1, 'kamsync_kamailio_up': 1, 'kamsync_store_up': 1, 'kamsync_nodes_up': 2,
          'kamsync_records_unwritten': 3, 'kamsync_transactions': 1000, 'kamsync_transactions_bytes': 2e6,
          'kamsync_transactions_limit': 500000, 'kamsync_calls': 5000, 'kamsync_calls_bytes': 5e6,
          'kamsync_process_start_time_seconds': 1795239023}
QUIET = 7  # of each counter that should not grow: it has grown once, long ago
GROWING = {'kamsync_strays_total': 100, 'kamsync_store_round_trip_seconds_bucket{le="0.05"}': 1000,
           'kamsync_store_round_trip_seconds_bucket{le="0.25"}': 1000, 'kamsync_store_round_trip_seconds_bucket{le="+Inf"}': 1000}
INFO = {'kamsync_build_info': 'version="0.1.0"', 'kamsync_node_info': 'node="{node}",name="{node}",cluster="k"'}


def names(text):
    return set(re.findall(r'\bkamsync_\w+', text))


def documented(name):
    page = pathlib.Path(REPO, 'docs/metrics.md').read_text()
    return f'| `{re.sub("_(bucket|sum|count)$", "", name)}` |' in page


COUNTERS = sorted(n for rule in ALERTS.values() for n in names(rule['expr']) if n.endswith('_total') and n not in GROWING)


def steady(value, by=0):
    return f'{value}+{by}x{STEPS_BEFORE + 1 + STEPS_AFTER}'


def then(before, after, by=0):
    """One value, and from the change on another, which may grow."""
    return f'{before}+0x{STEPS_BEFORE} {after}+{by}x{STEPS_AFTER}'


def until_then(values):
    """These steady values, and none from the change on."""
    return f'{values.split("x")[0]}x{STEPS_BEFORE} stale'


COMES = f'_x{STEPS_BEFORE + 1} 1+0x{STEPS_AFTER}'


def series_of(node):
    """{metric with labels: values} of a node that is well."""
    found = {name: steady(value) for name, value in GAUGES.items()}
    found.update({name: steady(QUIET) for name in COUNTERS})
    found.update({name: steady(0, by) for name, by in GROWING.items()})
    found.update({name + '{' + labels.format(node=node) + '}': steady(1) for name, labels in INFO.items()})
    return found


def labelled(name, node):
    own = f'job="kamsync",instance="{node}:9190"'
    return f'{name[:-1]},{own}}}' if name.endswith('}') else f'{name}{{{own}}}'


def world(changes):
    """All series, with these changes: {node: {metric with labels: values, or a function of those of a node that is well}}; '*'
    stands for all of the node that are not named."""
    series = []
    for node in NODES:
        well, changed = series_of(node), dict(changes.get(node, {}))
        others = changed.pop('*', None)
        changed = {**{name: others for name in well if others}, **changed}
        for name, values in {**well, **changed}.items():
            series.append({'series': labelled(name, node), 'values': values(well[name]) if callable(values) else values})
    return series


def firing(at, *alerts):
    """All that fires at that second, and nothing else."""
    return {'expr': 'count by (alertname) (ALERTS{alertstate="firing"}) * 0', 'eval_time': f'{at}s',
            'exp_samples': [{'labels': f'{{alertname="{alert}"}}', 'value': 0} for alert in alerts]}


def promtool(folder, *tests):
    """Plays them, each (changes, what is expected…); all in one run, which is much faster."""
    file = folder / 'test.yml'  # JSON is YAML
    file.write_text(json.dumps({
        'rule_files': [str(RULES)], 'evaluation_interval': f'{STEP_S}s',
        'tests': [{'interval': f'{STEP_S}s', 'input_series': world(changes), 'promql_expr_test': expected}
                  for changes, *expected in tests]}))
    out = subprocess.run(['promtool', 'test', 'rules', file], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr


needs_promtool = pytest.mark.skipif(not shutil.which('promtool'), reason='needs promtool')


def a(**values):
    return {'a': {f'kamsync_{name}': value for name, value in values.items()}}


def all_nodes(**values):
    return {node: a(**values)['a'] for node in NODES}


def seconds(text):
    return int(text[:-1]) * {'s': 1, 'm': 60}[text[-1]]


def patience(alert):
    return seconds(ALERTS[alert].get('for', '0s'))


def looks_back(alert):
    return max([0, *map(seconds, re.findall(r'\[(\w+)\]', ALERTS[alert]['expr']))])


slow = f'0+1000x{STEPS_BEFORE} {1000 * STEPS_BEFORE}+0x{STEPS_AFTER}'  # not in that bucket any more
starts = f'1+0x{STEPS_BEFORE} 1+0x9 2+0x9 3+0x9 4+0x{STEPS_AFTER - 30}'
STATES = [
    ('KamsyncNotScraped', {node: {'*': until_then} for node in NODES}),
    ('KamsyncDown', {'a': {'*': until_then, 'up': then(1, 0)}, **{n: {'kamsync_nodes_up': then(2, 1)} for n in 'bc'}}),
    ('KamsyncNobodyReady', all_nodes(ready=then(1, 0))),
    ('KamsyncKamailioAway', {**a(kamailio_up=then(1, 0), ready=then(1, 0)),
                             **{n: {'kamsync_nodes_up': then(2, 1)} for n in 'bc'}}),
    ('KamsyncNodeUnseen', a(nodes_up=then(2, 1))),
    ('KamsyncStoreAway', a(store_up=then(1, 0))),
    ('KamsyncStoreRefuses', a(puts_failed_total=then(QUIET, QUIET, 1))),
    ('KamsyncRecordsWaiting', a(records_unwritten=then(0, 5000))),
    ('KamsyncStoreSlow', {'a': {'kamsync_store_round_trip_seconds_bucket{le="0.05"}': slow}}),
    ('KamsyncStraysUndecided', a(verdict_unavailable_total=then(QUIET, QUIET, 10))),
    ('KamsyncVersionsMixed', {'a': {'kamsync_build_info{version="0.1.0"}': until_then, 'kamsync_build_info{version="0.2.0"}': COMES}}),
    ('KamsyncLimitNear', a(transactions=then(1000, 450000))),
    ('KamsyncLimitNear', a(transactions_bytes=then(2e6, 1.9e9))),
    ('KamsyncLimitNear', a(calls=then(5000, 900000))),
    ('KamsyncLimitNear', a(calls_bytes=then(5e6, 0.95e9))),
    ('KamsyncRestarts', a(process_start_time_seconds=starts)),
]
# Alerts that fire when a counter has grown once, with each of their counters.
EVENTS = [(alert, counter) for alert, rule in ALERTS.items()
          if rule['expr'].lstrip().startswith('increase(') and patience(alert) < looks_back(alert)
          for counter in sorted(names(rule['expr']))]


@needs_promtool
def test_all_is_silent_while_all_is_well(tmp_path):
    promtool(tmp_path, ({}, *[firing(at) for at in range(0, CHANGE_S * 3, 60)]))


@needs_promtool
def test_one_record_that_was_refused_is_no_alert(tmp_path):
    promtool(tmp_path, (a(puts_failed_total=then(QUIET, QUIET + 1)), *[firing(at) for at in range(CHANGE_S, CHANGE_S * 2, 60)]))


@needs_promtool
def test_a_state_fires_its_alert(tmp_path):
    def played(alert, change):
        soon = CHANGE_S + patience(alert)
        return change, firing(CHANGE_S - STEP_S), firing(soon - STEP_S), firing(soon + looks_back(alert) + 60, alert)
    promtool(tmp_path, *[played(*state) for state in STATES])


@needs_promtool
def test_an_event_fires_its_alert_for_a_while(tmp_path):
    def played(alert, counter):
        soon = CHANGE_S + patience(alert)
        return ({'a': {counter: then(QUIET, QUIET + 1)}}, firing(soon - STEP_S), firing(soon + STEP_S, alert),
                firing(CHANGE_S + looks_back(alert) + STEP_S))
    promtool(tmp_path, *[played(*event) for event in EVENTS])


@needs_promtool
def test_an_event_after_a_restart_fires_its_alert(tmp_path):
    """Although the counter is still below what it was before."""
    def played(alert, counter):
        soon = CHANGE_S + 2 * STEP_S + patience(alert)
        return ({'a': {counter: f'{QUIET}+0x{STEPS_BEFORE} 0+0x1 1+0x{STEPS_AFTER}'}}, firing(soon - STEP_S),
                firing(soon + STEP_S, alert))
    promtool(tmp_path, *[played(*event) for event in EVENTS])


@needs_promtool
def test_a_restart_fires_nothing(tmp_path):
    """Of kamsyncd, on all nodes at once, between two scrapes."""
    growing = {name: f'0+{by}x{STEPS_BEFORE} 0+{by}x{STEPS_AFTER}' for name, by in GROWING.items()}
    restarted = {**growing, **{name: then(QUIET, 0) for name in COUNTERS},
                 'kamsync_process_start_time_seconds': then(1795239023, 1795239633)}
    promtool(tmp_path, ({node: restarted for node in NODES}, *[firing(at) for at in range(CHANGE_S - 60, CHANGE_S * 3, 30)]))


def test_each_alert_is_tried():
    assert len(ALERTS) > 15 and {alert for alert, _ in STATES + EVENTS} == set(ALERTS)


def test_each_alert_has_its_paragraph():
    """And no paragraph is of none."""
    page = pathlib.Path(REPO, 'docs/operate.md').read_text()
    section = page.split('\n## Alerts\n')[1].split('\n## ')[0]
    assert re.findall(r'^### (\w+)$', section, re.M) == list(ALERTS)
    assert all(len(text) > 80 for text in re.split(r'^### \w+$', section, flags=re.M)[1:])
    for alert, rule in ALERTS.items():
        assert rule['annotations']['runbook'] == f'docs/operate.md#{alert.lower()}' and rule['annotations']['summary']
        assert rule['labels'].keys() == {'severity'} and rule['labels']['severity'] in ('critical', 'warning')


def test_what_alerts_look_at_is_documented():
    used = set().union(*(names(rule['expr']) for rule in ALERTS.values()))
    assert len(used) > 30 and [name for name in sorted(used) if not documented(name)] == []
