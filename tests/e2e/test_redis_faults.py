"""Redis fails in ten ways while calls go on: nothing is lost, and all is back by itself.

$KAMSYNC_SEED repeats a run; $KAMSYNC_FAULTS_TABLE names a file for the table as Markdown (docs/faults.md).
"""

import pytest

from lab import redis_faults, tables
from lab.redis_faults import FAULTS, Bed

pytestmark = pytest.mark.one_redis('its faults; tests/system has those of a Redis Cluster')

BACK_S = {'lookups': 1.0, 'records': 3.0, 'archive': 8.0}
_outcomes = {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    text = redis_faults.table(_outcomes)
    print(f'\n{text}')
    tables.write(text, 'KAMSYNC_FAULTS_TABLE', '## With real Kamailios')


@pytest.fixture(scope='module')
def direct(seed):
    with Bed(seed) as bed:
        yield bed


@pytest.fixture(scope='module')
def proxied(seed):
    with Bed(seed, proxied=True) as bed:
        yield bed


@pytest.mark.parametrize('name', FAULTS)
def test_fault(name, request, seed):
    fault = FAULTS[name]
    bed = request.getfixturevalue('proxied' if fault.proxied else 'direct')
    outcome = _outcomes[name] = bed.run(fault)
    print(f'KAMSYNC_SEED={seed}\n{outcome.row()}')
    check_calls(bed, outcome)
    check_return(outcome)


def check_calls(bed, outcome):
    for call, text in (*outcome.wrong.items(), *outcome.entries_wrong.items()):
        print(f'{call.call_id}: {text}\n{bed.lab.trace.show(call.call_id)}')
    assert not outcome.wrong, list(outcome.wrong.values())
    assert not outcome.entries_wrong, list(outcome.entries_wrong.values())
    for call in outcome.calls:
        if bed.traffic.repeated([call]):
            print(f'{call.call_id}: a retransmission\n{bed.lab.trace.show(call.call_id)}')
    assert outcome.repeated == 0


def check_return(outcome):
    for what, seconds in outcome.recovered.items():
        assert seconds is not None and seconds < BACK_S[what], f'{what}: {seconds}'
    assert not outcome.stale_later
    # Each call has some 8 changes. What lives is written again with each return, and once a second while it is refused.
    calls = len(outcome.calls)
    assert outcome.delta['puts'] + outcome.delta['call_writes'] < 40 * calls, outcome.delta
