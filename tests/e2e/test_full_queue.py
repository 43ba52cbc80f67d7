"""kamsyncd is away, and more happens than Kamailio's queue holds. What nobody tells again has room of its own: the BYE, the
CANCEL, a variable. And what was lost is counted."""
import os

import pytest

from lab.accidents import kill_kamsyncd
from lab.cluster import CFG, CONTROL
from lab.proc import wait_until
from lab.talking import all_at_a

QUEUE, TALKING, RINGING, OTHERS = 200, 20, 5, 120
SET = ('X-Set', 'note|kept')


@pytest.fixture
def bed(lab):
    with all_at_a(lab, routing=os.path.join(CFG, 'calls.cfg'), modules=CONTROL,
                  defines={'KAMSYNC_QUEUE_MAX': QUEUE}) as parts:
        yield parts


def place(callees, caller, name, count):
    calls = [caller.call(f'{name}-{n}@lab', 'one') for n in range(count)]
    for call in calls:
        call.wait(180)
    return calls


def talk(callees, calls):
    for call in calls:
        callees.legs(call.call_id)[0].answer()
    for call in calls:
        call.wait(200)


def reject_many(callees, caller):
    """Three events each."""
    for call in place(callees, caller, 'other', OTHERS):
        callees.legs(call.call_id)[0].reject(486)
        call.wait(486)


def archive(cluster, prefix):
    return {entry['call_id']: (entry['how'], entry['by'], (entry.get("vars") or {}).get('note'))
            for entry in cluster['b'].ask('cdr', count=1000)['cdr'] if entry['call_id'].startswith(prefix)}


def expect(cluster, prefix, calls, entry):
    wait_until(lambda: archive(cluster, prefix) == {call.call_id: entry for call in calls}, 20,
               lambda: f'{len(calls)} times {entry}: {archive(cluster, prefix)}')


def events_of(node):
    """Lost ones, branches and replies."""
    counters = node.counters()
    return [counters[name] for name in ('events_shed', 'events_branch', 'events_reply')]


def test_what_nobody_tells_again(bed):
    cluster, callees, caller = bed
    talking, ringing = place(callees, caller, 'talk', TALKING), place(callees, caller, 'ring', RINGING)
    talk(callees, talking)
    cluster['a'].wait_recorded(callees, *(call.call_id for call in talking + ringing))
    read = sum(events_of(cluster['a'])[1:])
    kill_kamsyncd(cluster, 'a')
    asked = [call.within('INFO', headers=(SET,)) for call in talking]
    wait_until(lambda: all(info.code == 200 for info in asked), 5, 'the variables are set')
    byes = [call.bye() for call in talking]
    wait_until(lambda: all(bye.code == 200 for bye in byes), 5, 'all have hung up')
    for call in ringing:
        call.cancel()
        call.wait(487)
    reject_many(callees, caller)
    cluster['a'].wait_shed(QUEUE)
    cluster['a'].start_kamsyncd()
    expect(cluster, 'talk', talking, ('completed', 'caller', 'kept'))
    wait_until(lambda: sum(events_of(cluster['a'])[1:]) >= QUEUE, 5, lambda: f'what the queue held: {events_of(cluster["a"])}')
    lost, *told = events_of(cluster['a'])
    assert sum(told) <= QUEUE + read, 'that, and what its predecessor had not acknowledged'
    assert lost >= 3 * OTHERS + RINGING - QUEUE and f'{lost} events were lost' in cluster['a'].log()
