"""A secret that is changed while calls go on, and a stranger at evapi's door. (Forged and replayed handovers: test_strays.py.)"""
import itertools
import os
import select
import socket

import netns
from accidents import start, wait_records
from cluster import SECRET
from policies import by_kind
from proc import wait_until
from ringing import Ringing

# Longer than a block of SHA-256, so it is hashed. In the lab's own, "6" and "\\" become zeros in the script's key (RFC 2104).
NEW = 'the-secret-that-comes-after-it-6\\6-' + 40 * '6'
WAYS = {'ab': by_kind({'CANCEL': 'b', 'ACK': 'b'}, default='a'), 'ba': by_kind({'CANCEL': 'a', 'ACK': 'a'}, default='b')}
_numbers = itertools.count(1)


def set_secrets(node, secret, old):
    """What an administrator does: the files, then a reload."""
    path = os.path.join(node.directory, 'old-secret')
    node.cluster.secret = secret
    with open(path, 'w') as file:
        file.write(old + '\n')
    node.configure(**({'old_secret_file': path} if old else {}))
    said = node.kamailio.log().count('kamsyncd is connected')
    assert node.ask('reload')['ok']
    wait_until(lambda: node.kamailio.log().count('kamsyncd is connected') > said, 5, 'Kamailio has the new secrets')


def ring(cluster):
    """Calls in both directions."""
    found = {}
    for way, steering in WAYS.items():
        cluster.lab.steer(steering)
        found[way] = Ringing(cluster.lab, f'secret{next(_numbers)}{way}', 3)
        wait_records(cluster, found[way])
    return found


def cancel_all(cluster, calls):
    """Each at the other node, which finds the owner in Redis; the owner must believe it, at once."""
    for way, ringing in calls.items():
        cluster.lab.steer(WAYS[way])
        ringing.cancel()
        ringing.wait_ended(way[0])
        ringing.close()


# Each step on one node after the other; all have done it before the next begins.
STEPS = [(SECRET, NEW), (NEW, SECRET), (NEW, '')]


def test_secret_is_changed_without_a_gap(lab):
    cluster = start(lab, nodes='ab')
    cancel_all(cluster, ring(cluster))
    for secret, old in STEPS:
        for name in 'ab':
            before = ring(cluster)
            set_secrets(cluster[name], secret, old)
            cancel_all(cluster, before)
            cancel_all(cluster, ring(cluster))
    logs = ''.join(node.kamailio.log() for node in cluster.node.values())
    assert 'wrong proof' not in logs and 'X-Kamsync header' not in logs
    assert not lab.trace.repeated()
    assert all(node.counters()['verdict_cut'] == node.counters()['told_bad'] == 0 for node in cluster.node.values())
    cluster.stop()


def test_a_second_evapi_client_hears_nothing(lab):
    """Secrets, calls and handovers go to kamsyncd's connection only, before and after it was renewed."""
    cluster = start(lab, nodes='ab')
    strangers = [netns.inside(lab.namespace(name), lambda: socket.create_connection(('127.0.0.1', 8448), timeout=2))
                 for name in 'ab']
    cancel_all(cluster, ring(cluster))
    for name in 'ab':
        set_secrets(cluster[name], SECRET, NEW)
        cluster[name].kamsyncd.kill()
        cluster[name].start_kamsyncd()
    cluster.wait_connected()
    cancel_all(cluster, ring(cluster))
    assert select.select(strangers, [], [], 0)[0] == []
    for stranger in strangers:
        stranger.close()
    cluster.stop()
