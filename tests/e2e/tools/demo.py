#!/usr/bin/python3
"""kamsync in a minute, on real Kamailio nodes, as a story: ./dev demo

    demo.py PATH_TO_KAMSYNCD

Everything happens in network namespaces of its own, which are gone in the end. The exit status is 0 only if the
packets on the wire bear the story out."""
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time

if not __package__:  # run as a program
    sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))

from lab import cluster as clusters
from lab.lab import ANYCAST, Lab
from lab.proc import LabError, wait_until
from lab.redis_tools import redis_tool
from lab.ringing import Ringing
from lab.sipp import Caller, Gateway

NEEDED = ('ip', 'kamailio', redis_tool('server'), redis_tool('cli'), 'sipp')
RINGS_ON = 2.0  # seconds to watch a phone that nobody stops


class StoryError(Exception):
    """What the packets say is not what the story tells."""


# ---- telling ----

def say(text='', indent=2):
    for line in text.splitlines() or ['']:
        print(textwrap.fill(line, 100, initial_indent=' ' * indent, subsequent_indent=' ' * (indent + 2),
                            break_long_words=False, break_on_hyphens=False), flush=True)


def title(text):
    bold, plain = ('\033[1m', '\033[0m') if sys.stdout.isatty() else ('', '')
    print(f'\n{bold}{text}{plain}', flush=True)


def ms(seconds):
    return f'{1000 * seconds:.1f} ms'


def must(condition, what):
    if not condition:
        raise StoryError(what)


# ---- what scenes have in common ----

def introduce(lab):
    say(f'anycast address {ANYCAST}:5060, announced by two nodes:')
    say(f'node a  {lab.address("a")}     node b  {lab.address("b")}', 4)
    say(f'caller  {lab.address("caller")}    gateway {lab.address("gateway")}    Redis {lab.address("store")}', 4)


def route_to(lab, node):
    """A real route of the caller's host: what the network does when anycast moves."""
    lab.route('caller', node)
    say(f'caller$ ip route replace {ANYCAST}/32 via {lab.address(node)}      (node {node})', 4)


def dial(lab):
    """The caller dials, the gateway rings. Both by way of node a."""
    say('The network takes both to node a:')
    route_to(lab, 'a')
    lab.route('gateway', 'a')
    call = Ringing(lab, 'demo')
    [call_id] = call.call_ids
    packets = lab.trace.of(call_id)
    begun = packets[0].time
    first(packets, 'INVITE from node a', side='gateway', kind='INVITE', outgoing=False, node='a')
    say(f'The caller dials: INVITE sip:ring1@{ANYCAST}, Call-ID {call_id}')
    say(f'Node a sends it to the gateway, which rings: 180 at the caller after '
        f'{ms(call.replies(call_id, "180")[0].time - begun)}')
    return call, call_id


def move_and_hang_up(lab, call):
    say('The anycast route moves, in the middle of the call:')
    route_to(lab, 'b')
    say('The caller hangs up: CANCEL. It goes to node b, which knows nothing of this call.')
    call.cancel()


def first(packets, what, **wanted):
    """The first packet that has these attributes."""
    for packet in packets:
        if all(getattr(packet, name) == value for name, value in wanted.items()):
            return packet
    raise StoryError(f'{what}: no such packet')


# ---- scenes: each is a function of the lab, has a lab of its own, and raises if its story is not true ----

def cancel_on_the_other_node(lab):
    """CANCEL on the other node"""
    cluster = clusters.Cluster(lab)
    Gateway(lab)
    introduce(lab)
    call, call_id = dial(lab)
    show_record(lab, cluster, call_id)
    move_and_hang_up(lab, call)
    call.wait_ended('a')
    show_verdict(lab, cluster, call_id)
    packets = lab.trace.of(call_id)
    begun = first(packets, 'CANCEL to node b', side='caller', kind='CANCEL', outgoing=True, node='b').time
    for what, wanted in (
            ('The gateway gets the CANCEL', {'side': 'gateway', 'kind': 'CANCEL', 'outgoing': False, 'node': 'a'}),
            ('The caller gets 200 for it', {'side': 'caller', 'kind': '200', 'outgoing': False, 'node': 'a'}),
            ('The caller gets 487: the call is over', {'side': 'caller', 'kind': '487', 'outgoing': False, 'node': 'a'})):
        packet = first(packets, what, **wanted)
        must(packet.source[0] == ANYCAST, f'{what}: from {packet.source}')
        say(f'{what}, from {ANYCAST}, sent by node a: after {ms(packet.time - begun)}')
    show_no_repetition(lab, call_id)
    say('The phone has stopped ringing.')
    cluster.stop()


def show_record(lab, cluster, call_id):
    def find():
        return [(key, record) for key, record in cluster.records().items()
                if call_id in key and record['state'] == 'ringing']
    [(key, record)] = wait_until(find, 3, 'the record in Redis')
    say('Redis has this record of it now; look at one like it in a cluster of yours with:')
    say(f"redis-cli get '{key}' | jq", 4)
    [branch] = record['branches']
    for name, value in (('owner', f'{record["owner"]} (node a), its incarnation is {record["inc"]}'),
                        ('state', f'{record["state"]} ({record["code"]})'),
                        ('caller', f'{record["src"]} on {record["dst"]}'),
                        ('branch', f'{branch["i"]} to {branch["to"]} from {branch["sock"]}, last reply {branch["code"]}'),
                        ('req', f'{len(record["req"])} bytes: the INVITE as it came in' if 'req' in record else None)):
        if value:
            say(f'{name:<7} {value}', 6)


def show_verdict(lab, cluster, call_id):
    line = wait_until(lambda: re.search(rf'stray CANCEL (verdict=\S+ owner=\S+).*?(waited=\S+) call-id={re.escape(call_id)}',
                                        cluster['b'].log()), 3, 'a verdict of b')
    must(line[1] in ('verdict=acted owner=1', 'verdict=owner owner=1'), f'the verdict of node b is {line[1]}')
    say('Its Kamailio gives it, byte for byte, to the few other nodes at once: node a takes it as if the network had brought it.')
    say('The kamsyncd beside it looks in Redis a moment later whether the owner has acted, and logs:')
    say(f'stray CANCEL {line[1]} {line[2]}', 4)


def show_no_repetition(lab, call_id):
    """An ACK that had not reached node a would show as a second 487 after 0.5 s."""
    wait_until(lambda: 'ACK' in lab.trace.sent_by('caller', call_id), 1, 'the ACK in the trace')
    first(lab.trace.of(call_id), 'ACK to node b', side='caller', kind='ACK', outgoing=True, node='b')
    try:
        again = wait_until(lab.trace.repeated, 0.7, 'repetitions')
    except LabError:
        say('The caller\'s ACK goes to node b, too, and is handed over the same way: nothing was sent twice.')
        return
    raise StoryError(f'sent twice: {again}')


def the_same_without_kamsync(lab):
    """The same without kamsync"""
    clusters.Cluster(lab, kamsync=False)
    Gateway(lab)
    introduce(lab)
    call, call_id = dial(lab)
    move_and_hang_up(lab, call)
    try:
        call.peer.expect('SIP/2.0 200', 0.5)
    except AssertionError:
        say('No answer. After 0.5 s it is sent again, as SIP demands; to node b again.')
        call.cancel()
    try:
        call.peer.expect('SIP/2.0 200', RINGS_ON - 0.5)
    except AssertionError:
        pass
    got = lab.trace.received_by('gateway', call_id)
    must(got == ['INVITE'] and not call.replies(call_id, '487'), f'without kamsync the gateway got {got}')
    say(f'{RINGS_ON:.0f} s after the first CANCEL the caller has no answer, the gateway has got nothing but the INVITE, '
        'and the phone rings on.')


def kill_owner(lab, cluster, call_id):
    """Kills node a's Kamailio and waits until node b has the call. Returns when that was."""
    killed = time.monotonic()
    cluster['a'].kamailio.kill()
    say('Node a\'s Kamailio is killed with -9, in the middle of the call. The anycast route moves:')
    route_to(lab, 'b')
    lab.route('gateway', 'b')
    again = wait_until(lambda: taken_over(lab, call_id, 'b'), 5, 'node b to take the call over')
    say('Node b finds the record of a dead node, claims it, and puts the stored INVITE into its own Kamailio. To the gateway '
        f'that is a retransmission (the same Via branch), {ms(again.time - killed)} after the kill. It repeats its 180, '
        'and node b has the call.')
    return again


def taken_over(lab, call_id, node):
    """The INVITE that the node sent again to the gateway."""
    sent = [p for p in lab.trace.at('gateway', call_id) if not p.outgoing and p.kind == 'INVITE']
    must(len({p.branch for p in sent}) <= 1, f'a second call at the gateway: {sent}')
    return next((p for p in sent[1:] if p.node == node), None)


def hang_up_after_takeover(lab, call, call_id, node):
    say(f'The caller hangs up: CANCEL, to node {node}.')
    call.cancel()
    wait_until(lambda: call.replies(call_id, '487') and call.replies(call_id, '200', 'CANCEL'), 5, '200 and 487')
    packets = [p for p in lab.trace.of(call_id)]
    begun = first(packets, 'the CANCEL', side='caller', kind='CANCEL', outgoing=True).time
    got = [p for p in packets if p.side == 'gateway' and p.kind == 'CANCEL' and not p.outgoing]
    must(len(got) == 1 and got[0].node == node, f'the gateway got these CANCELs: {got}')
    say(f'The gateway gets the CANCEL after {ms(got[0].time - begun)}, the caller 200 and 487 after '
        f'{ms(call.replies(call_id, "487")[0].time - begun)}. The phone has stopped ringing.')


def cancel_after_the_owner_died(lab):
    """The owner is killed while it rings, and the caller hangs up"""
    cluster = clusters.Cluster(lab)
    Gateway(lab)
    introduce(lab)
    call, call_id = dial(lab)
    wait_until(lambda: call_id in ' '.join(cluster.records()), 3, 'the record in Redis')
    kill_owner(lab, cluster, call_id)
    hang_up_after_takeover(lab, call, call_id, 'b')
    cluster.stop()


def answered_after_the_owner_died(lab):
    """The owner is killed while it rings, and the call is answered"""
    cluster = clusters.Cluster(lab)
    Gateway(lab, pause=1500)
    introduce(lab)
    say('The network takes both to node a:')
    route_to(lab, 'a')
    lab.route('gateway', 'a')
    caller = Caller(lab, 'call', pause=300)
    [call_id] = caller.call_ids
    wait_until(lambda: '180' in lab.trace.received_by('caller', call_id), 5, 'ringing')
    wait_until(lambda: call_id in ' '.join(cluster.records()), 3, 'the record in Redis')
    say(f'The caller dials, the gateway rings: Call-ID {call_id}')
    kill_owner(lab, cluster, call_id)
    say('The gateway answers: 200, to node b.')
    result = caller.wait()
    must((result.ok, result.failed) == (1, 0), f'the caller says: {result}')
    answered = next(p for p in lab.trace.at('caller', call_id) if (p.kind, p.cseq_method) == ('200', 'INVITE'))
    must(answered.node == 'b', f'the 200 came from {answered.node}')
    say('The caller gets the 200 from node b, talks, and hangs up: ACK, BYE and its 200 all pass through node b.')
    show_call(cluster['b'], call_id)
    cluster.stop()


def show_call(node, call_id):
    """What kamsyncctl tells of a call that has ended."""
    def entries():
        return [entry for entry in node.ask('cdr')['cdr'] if entry['call_id'] == call_id]
    [entry] = wait_until(entries, 5, 'the entry in the archive')
    must((entry['how'], entry['by']) == ('completed', 'caller'), f'the archive says {entry}')
    ctl = os.path.join(os.path.dirname(clusters.KAMSYNCD), 'ctl', 'kamsyncctl')
    say('The call has one entry in the archive, and this is what the cluster knows of it:')
    say(f'kamsyncctl call {call_id}', 4)
    out = subprocess.run([ctl, '-s', f'{node.directory}/control.sock', 'call', call_id], capture_output=True, text=True)
    must(out.returncode == 0, f'kamsyncctl: {out.stderr}')
    for line in out.stdout.splitlines():
        print(f'      {line}', flush=True)


def single_node_restarted(lab):
    """One node without Redis: its Kamailio is restarted while it rings"""
    cluster = clusters.Cluster(lab, nodes='a', store='memory://')
    Gateway(lab)
    say('One node, kamsyncd with store = memory://, no Redis needed.')
    call, call_id = dial(lab)
    wait_until(lambda: cluster['a'].counters()['events_reply'], 3, 'kamsyncd to know of the call')
    begun = time.monotonic()
    cluster['a'].kamailio.kill()
    cluster['a'].start_kamailio()
    again = wait_until(lambda: taken_over(lab, call_id, 'a'), 5, 'the new Kamailio to have the call')
    say('Its Kamailio is killed with -9 and started again. Every transaction is gone; kamsyncd has kept them, and puts the '
        f'INVITE back: {ms(again.time - begun)} after the kill, the start included, Kamailio has the call again.')
    hang_up_after_takeover(lab, call, call_id, 'a')
    cluster.stop()


SCENES = (cancel_on_the_other_node, the_same_without_kamsync, cancel_after_the_owner_died, answered_after_the_owner_died,
          single_node_restarted)


# ---- the run ----

def show_logs(lab):
    for proc in lab.procs:
        if not proc.name.startswith('gateway'):
            print(proc.tail(15), file=sys.stderr)


def play(number, scene):
    """True if the story was borne out."""
    title(f'Scene {number}: {scene.__doc__}')
    with Lab(nodes='ab') as lab:
        try:
            scene(lab)
            return True
        except (StoryError, LabError, AssertionError, json.JSONDecodeError) as error:
            print(f'\nThis went wrong: {error}', file=sys.stderr)
            for call_id in lab.trace.call_ids():
                print(f'{call_id}\n{lab.trace.show(call_id)}', file=sys.stderr)
            show_logs(lab)
            return False


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (['-h'], ['--help']):
        print(__doc__)
        return 2
    if sys.argv[1:]:
        clusters.KAMSYNCD = os.path.abspath(sys.argv[1])
    missing = [program for program in NEEDED if not shutil.which(program)]
    missing += [] if os.access(clusters.KAMSYNCD, os.X_OK) else [clusters.KAMSYNCD]
    missing += [] if os.geteuid() == 0 else ['root']
    if missing:
        print(f'demo: needs {", ".join(missing)}', file=sys.stderr)
        return 1
    outcomes = [play(number, scene) for number, scene in enumerate(SCENES, 1)]
    return 0 if all(outcomes) else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
