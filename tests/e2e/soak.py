#!/usr/bin/python3
"""Calls for as long as told, and accidents at random: is everything back where it began, and was any call wrong?

    ./dev soak --minutes 15 --seed 7

Accidents come one after the other: the routes flap, a Kamailio or a kamsyncd is killed and started again, Redis is killed
and comes back empty, is paused, or is cut off from a node. A call that one of them hit in flight may be wrong: it is
counted, but is no failure. Exit status 1 if another one was wrong, or if memory, files or keys do not come back.
"""
import argparse
import os
import re
import secrets
import sys
import time

from cluster import Cluster
from lab import Lab
from phone import Callees, Caller
from proc import LabError, wait_until
from redis_faults import Redis
from traffic import Traffic, answer_or_ring, archive_complaint

RATE = 10
LINE_S, POLL_S, CLEAR_S = 10, 1.0, 60
PAUSE_S = (2.0, 5.0)       # from one accident's end to the next
ENDING_S = 2.5
IN_FLIGHT_S = 0.2          # a message was in a process that died
SHORT = {'tx_ttl_s': 10, 'done_ttl_s': 5, 'ended_ttl_s': 32}
RSS_MORE_KB = 8000


class Accident:
    def __init__(self, name, excuse):
        self.name, self.begin, self.excuse = name, time.monotonic(), excuse

    def hit(self, call):
        """Was one of the call's messages in flight? That a call was cancelled is known to its kamsyncd alone
        until it is written as ended, a second or two later; and what an empty Redis has lost is read only now and then."""
        if not self.excuse:
            return False
        if not self.name.startswith('Kamailio') and call.ending and 0 <= self.begin - call.ending.began < ENDING_S:
            return True
        moments = [call.began, call.ended_at, *(msg.time for msg in list(call.replies))]
        if call.ending:
            moments += [call.ending.began, call.ending.answered]
        return any(abs(moment - self.begin) < IN_FLIGHT_S for moment in moments if moment)


class Soak:
    def __init__(self, lab, seed, callees, caller, settings=()):
        self.lab, self.redis = lab, Redis(lab, password=None).start()
        self.cluster = Cluster(lab, redis=False, log_level=0, shared_mb=128, **{**SHORT, **dict(settings)})
        self.traffic = Traffic(self.cluster, seed, caller, callees, RATE)
        self.random, self.accidents = self.traffic.random, []
        self.entries, self.checked, self.wrong, self.hit = {}, 0, {}, {}
        self.kinds = (self.flap, self.kill_kamailio, self.kill_kamsyncd, self.kill_redis, self.pause_redis,
                      self.cut_off)

    # --- accidents

    def flap(self):
        """All to one node, or two, for a while; which ones are wrong then are so without an excuse."""
        self.traffic.alive = ''.join(self.random.sample('abc', self.random.choice((1, 2))))
        self.go_on(self.random.uniform(0.2, 2))
        self.traffic.alive = 'abc'

    def kill_kamailio(self):
        node = self.cluster[self.random.choice('abc')]
        self.traffic.alive = 'abc'.replace(node.name, '')
        self.strike(f'Kamailio {node.name}')
        node.kamailio.kill()
        self.go_on(self.random.uniform(0.5, 3))
        seen = node.log().count(': restarted')
        node.start_kamailio()
        wait_until(lambda: node.log().count(': restarted') > seen, 10, 'Kamailio is back')
        self.traffic.alive = 'abc'

    def kill_kamsyncd(self):
        node = self.cluster[self.random.choice('abc')]
        self.strike(f'kamsyncd {node.name}')
        node.kamsyncd.kill()
        self.go_on(self.random.uniform(0.1, 2))
        node.start_kamsyncd()
        self.wait_back([node])

    def kill_redis(self):
        self.read_archive()
        self.strike('Redis')
        self.redis.proc.kill()
        self.go_on(self.random.uniform(0.1, 3))
        self.redis.start()
        self.wait_back(self.cluster.node.values())

    def pause_redis(self):
        self.strike('pause', excuse=False)
        self.redis.do('CLIENT', 'PAUSE', self.random.randrange(100, 3000), 'ALL')
        wait_until(self.redis.takes_writes, 10, 'Redis')

    def cut_off(self):
        name = self.random.choice('abc')
        self.strike(f'cut {name}', excuse=False)
        self.lab.cut(name, 'store')
        self.go_on(self.random.uniform(0.2, 2.5))
        self.lab.heal(name, 'store')
        self.wait_back([self.cluster[name]])

    def strike(self, name, excuse=True):
        self.accidents.append(Accident(name, excuse))

    def wait_back(self, nodes):
        def back(node):
            try:
                return node.ask('status')['store'] == 'up'
            except (OSError, ValueError, KeyError):
                return False
        wait_until(lambda: all(back(node) for node in nodes), 15, 'the store is back')

    # --- the run

    def run(self, seconds):
        self.begin, self.next_line, self.next_poll, self.next_clear = time.monotonic(), 0, 0, CLEAR_S
        self.first = self.sizes()
        self.traffic.start()
        while time.monotonic() - self.begin < seconds:
            self.go_on(self.random.uniform(*PAUSE_S))
            self.random.choice(self.kinds)()
        self.go_on(2)
        self.traffic.settle()
        self.go_on(1)

    def go_on(self, seconds):
        """Time passes, in which the archive is read, and a line printed now and then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            age = time.monotonic() - self.begin
            if age >= self.next_poll:
                self.next_poll = age + POLL_S
                self.read_archive()
            if age >= self.next_line:
                self.next_line = age + LINE_S
                self.judge()
                print(self.line(), flush=True)
            if age >= self.next_clear and self.traffic.going:
                self.next_clear = age + CLEAR_S
                self.lab.trace.clear()
            time.sleep(0.05)

    def read_archive(self):
        """What Redis loses is not lost here."""
        try:
            for call_id, entries in self.redis.archive().items():
                known = self.entries.setdefault(call_id, [])
                known += [entry for entry in entries if entry not in known]
        except OSError:
            pass

    def judge(self, last=False):
        """Of those that ended a while ago; at the end, of all."""
        calls = self.traffic.calls[self.checked:]
        for call in calls:
            if last or (self.traffic.ended(call) and time.monotonic() - call.ending.began > 20):
                self.judge_one(call)
            else:
                break
            self.checked += 1

    def judge_one(self, call):
        text = self.traffic.complaint(call)
        if not text:
            text = archive_complaint(call, self.entries.pop(call.call_id, []))
        strikes = [accident for accident in self.accidents if accident.hit(call)]
        if text and strikes:
            self.hit[call.call_id] = f'{text}; {strikes[0].name}'
        elif text:
            self.wrong[call.call_id] = f'{text}; {self.before(call)}\n{self.lab.trace.show(call.call_id)}'

    def before(self, call):
        near = [f'{a.name} {call.began - a.begin:+.1f} s' for a in self.accidents
                if abs(call.began - a.begin) < 8]
        return f'begun after: {", ".join(near)}'

    # --- what it takes

    def sizes(self):
        """{node: (RSS in kB, open files)}"""
        found = {}
        for name, node in self.cluster.node.items():
            try:
                with open(f'/proc/{node.kamsyncd.pid}/status') as file:
                    rss = int(re.search(r'VmRSS:\s+(\d+)', file.read())[1])
                found[name] = rss, len(os.listdir(f'/proc/{node.kamsyncd.pid}/fd'))
            except (OSError, TypeError):
                found[name] = 0, 0
        return found

    def keys(self):
        """Names of records in Redis; those of nodes and the archive stay."""
        try:
            names = self.redis.do('KEYS', 'kamsync:*')
        except OSError:
            return None
        return [name for name in names if not name.startswith(('kamsync:node', 'kamsync:cdr'))]

    def line(self):
        sizes, keys = self.sizes(), self.keys()
        rss = ' '.join(f'{kb / 1024:5.1f}' for kb, _ in sizes.values())
        files = ' '.join(f'{count:3}' for _, count in sizes.values())
        live = sum(not self.traffic.ended(call) for call in self.traffic.calls[self.checked:])
        return (f'{time.monotonic() - self.begin:6.0f} s  MiB {rss}  files {files}  keys '
                f'{"?" if keys is None else len(keys):>5}  live {live:4}  done {len(self.traffic.calls) - live:6}  '
                f'wrong {len(self.wrong)}  hit in flight {len(self.hit)}  accidents {len(self.accidents)}')

    def lasting(self):
        """Records that do not end by themselves in a moment."""
        def goes(name):
            ended = name.startswith('kamsync:call:') and self.redis.do('HEXISTS', name, 'ended')
            return ended and 0 <= self.redis.do('PTTL', name) <= 1000 * SHORT['ended_ttl_s']
        return [name for name in self.keys() if not goes(name)]

    def leftovers(self):
        """What has not come back; '' if all has."""
        sizes = self.sizes()
        for name, (rss, files) in sizes.items():
            if rss > self.first[name][0] + RSS_MORE_KB or files > self.first[name][1]:
                return f'{name}: {rss} kB and {files} files, at the beginning {self.first[name]}'
            if self.cluster[name].status()['transactions'] != '0':
                return f'{name} has transactions: {self.cluster[name].status()}'
        return ', '.join(self.lasting())

    def finish(self):
        """The text of all that is wrong; '' if nothing is."""
        try:
            wait_until(lambda: not self.leftovers(), 45, self.leftovers, every=0.5)
            left = ''
        except LabError as error:
            left = f'{error}\n'
        self.read_archive()
        self.judge(last=True)
        print(self.line())
        for call_id, text in self.hit.items():
            print(f'hit in flight: {call_id}: {text}')
        return left + ''.join(f'{call_id}: {text}\n' for call_id, text in self.wrong.items())


def run(seconds, seed):
    print(f'seed {seed}')
    with Lab() as lab:
        with Callees(lab, ports=(5060,), on_invite=answer_or_ring) as callees, Caller(lab) as caller:
            soak = Soak(lab, seed, callees, caller)
            soak.run(seconds)
            text = soak.finish()
            callees.check()
            caller.check()
            soak.cluster.stop()
            lab.keep_logs = bool(text)
            return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--minutes', type=float, default=15)
    parser.add_argument('--seed', type=int, default=secrets.randbelow(1 << 31))
    options = parser.parse_args()
    text = run(60 * options.minutes, options.seed)
    print(text or 'nothing was wrong, and all is back where it began')
    return 1 if text else 0


if __name__ == '__main__':
    sys.exit(main())
