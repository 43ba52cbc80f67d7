"""The caller's credentials: what the script took out of an INVITE stands in no record, and no far end gets it in a takeover; what
it let pass, for a proxy beyond, is sent again as well."""
import os
import re

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until

HEADERS = (('Proxy-Authorization', 'Digest username="alice", response="0123"'), ('Authorization', 'Digest response="4567"'))
KEPT = {'consumed': ['Authorization'], 'www': ['Proxy-Authorization'], 'kept': ['Proxy-Authorization', 'Authorization']}


@pytest.fixture(scope='module')
def taken():
    """(callees, requests in the records), after the takeover."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=os.path.join(CFG, 'credentials.cfg'))
        lab.route_all('a')
        calls = {dial: caller.call(f'{dial}@lab', dial, headers=HEADERS) for dial in KEPT}
        wait_until(lambda: all(callees.legs(call.call_id) for call in calls.values()), 5, 'all ring')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        requests = {record['call_id']: record['req'] for record in cluster.records().values()}
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: all(each(callees.legs(f'{dial}@lab'), lambda leg: leg.again) for dial in KEPT), 5, 'INVITEs sent again')
        yield lab, requests
        lab.check()


def credentials(text):
    return re.findall(r'^((?:Proxy-)?Authorization):', text, re.M)


@pytest.mark.parametrize('dial', KEPT)
def test_only_what_was_sent_on_is_kept(taken, dial):
    _, requests = taken
    assert credentials(requests[f'{dial}@lab']) == KEPT[dial]


@pytest.mark.parametrize('dial', KEPT)
def test_far_end_gets_no_more_than_before(taken, dial):
    lab, _ = taken
    for node in 'ab':
        packets = [p for p in lab.trace.at('gateway', f'{dial}@lab', 5060)
                   if p.kind == 'INVITE' and not p.outgoing and p.node == node]
        assert packets, lab.trace.show(f'{dial}@lab')
        assert {tuple(credentials(p.text)) for p in packets} == {tuple(KEPT[dial])}, node
