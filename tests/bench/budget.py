"""What an ordinary call makes a real Kamailio do and tell its kamsyncd over evapi, and kamsyncd its Redis."""
import contextlib
import re
import tempfile

import measure  # noqa: F401: it knows where the lab is
from lab.proc import wait_until
from instructions import of_sip_processes
from redis_budget import Bench
from sites import Site, result

CALLS, RATE = 200, 50     # so slow that hardly two calls share a frame
EVENTS = ('events_branch', 'events_reply', 'events_bye')
EVAPI_PORT = 8448
NODE = 'a'


def _told(site):
    """Bytes, by the kernel's count, and events that kamsyncd has read."""
    text = site.lab.run(NODE, ['ss', '-tinH', 'state', 'established', f'( dport = :{EVAPI_PORT} )']).stdout
    counters = site.cluster[NODE].counters()
    return int(re.search(r'bytes_received:(\d+)', text)[1]), sum(counters[name] for name in EVENTS)


def evapi():
    """{'evapi_bytes', 'evapi_events'} per call; what goes over the link without calls is too little to matter."""
    with contextlib.closing(Site('kamsync')) as site:
        before = _told(site)
        seen = result(site.phones('call', CALLS, RATE))
        if seen['done'] != CALLS or seen['repeats']:
            raise RuntimeError(f'not {CALLS} ordinary calls: {seen}')
        wait_until(lambda: site.cluster[NODE].counters()['calls_ended'] == CALLS, 10, 'all calls ended')
        after = _told(site)
    return dict(zip(('evapi_bytes', 'evapi_events'), ((now - then) / CALLS for now, then in zip(after, before))))


def redis():
    """{'redis_scripts', 'redis_commands', 'redis_bytes'} per call; what scripts call is among the commands."""
    with tempfile.TemporaryDirectory() as directory, Bench(directory, CALLS) as bench:
        steps = bench.run().values()
    counts = [(name, calls) for commands, _ in steps for name, (calls, _) in commands.items()]
    return {'redis_scripts': sum(calls for name, calls in counts if name == 'evalsha'),
            'redis_commands': sum(calls for _, calls in counts), 'redis_bytes': sum(size for _, size in steps)}


def kamailio():
    """{'kamailio': instructions}, of the SIP processes with -x tlsf: how long the usual allocator looks for a free piece depends
    on what is free."""
    return {'kamailio': of_sip_processes('kamsync+tlsf')}
