#!/usr/bin/env python3
"""What a Redis Cluster of three masters saves: CPU of its busiest master per call, against one master and one Redis.

    cluster.py [--quick | --full]

One kamsyncd and all Redis share this machine, so events per second say nothing of how far a cluster carries. The busiest
master is what ends first: its share of the work is the ratio that more hosts can bring.
"""
import tempfile

import measure
from harness import Redis
from measure import Report, Sample
from redis_cluster import RedisCluster
from stream import Stream, frames, ordinary


class Store:
    def __init__(self, name, directory, node, masters):
        self.name, self.number = name, 0
        self.cluster = RedisCluster(directory, masters=masters) if masters else None
        self.members = self.cluster.masters if masters else [Redis(directory).start()]
        self.stream = Stream(directory, self.cluster.url if masters else self.members[0].url, node=node)
        self.busiest, self.daemon, self.events = Sample(), Sample(), Sample()

    def run(self, count):
        events = ordinary(range(self.number, self.number + count))
        self.number += count
        packed = frames(events)
        before, cpu = [measure.cpu(m.popen.pid) for m in self.members], self.stream.cpu()
        took = self.stream.pump(packed)
        self.busiest.append(1e6 * max(measure.cpu(m.popen.pid) - b for m, b in zip(self.members, before)) / count)
        self.daemon.append(1e6 * (self.stream.cpu() - cpu) / count)
        self.events.append(len(events) / took)
        for member in self.members:
            member.do('FLUSHALL')

    def close(self):
        self.stream.close()
        for member in self.members:
            member.kill()


def main():
    options = measure.options(__doc__)
    count, rounds = (3000, 3) if options.quick else (20000, 5) if options.full else (10000, 4)
    stores = []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as single, tempfile.TemporaryDirectory() as three:
        try:
            stores += [Store('one Redis', one, 1, 0), Store('cluster, 1 master', single, 2, 1), Store('cluster, 3 masters', three, 3, 3)]
            for _ in range(rounds):
                for store in stores:
                    store.run(count)
        finally:
            for store in stores:
                store.close()
    report = Report('Cluster')
    report.text(f'{count} ordinary calls at a time through one kamsyncd; {rounds} rounds, median (least to most). All on one machine, '
                'so what counts is the busiest master: µs of its CPU per call.')
    report.table(['store', 'busiest master, µs per call', 'against one Redis', 'kamsyncd, µs per call', 'events/s'],
                 [[s.name, s.busiest.text(1), s.busiest.against(stores[0].busiest).text(2), s.daemon.text(1), s.events.text(0)]
                  for s in stores])
    report.show()


if __name__ == '__main__':
    main()
