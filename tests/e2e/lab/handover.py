"""A message as one Kamailio hands it to another, in a header X-Kamsync with its proof, but made by hand."""
import hashlib
import hmac
import itertools
import time

from lab.lab import ANYCAST

_numbers = itertools.count(1)


def handover_header(node, why, src, message, secret, inc, sender=2, age=0):
    at = f'{int(time.time()) - age}.{next(_numbers):06}.1'
    body = f'to={node.id};inc={inc};why={why};src={src};dst=udp:{ANYCAST}:5060;from={sender};at={at}'
    proof = hmac.new(secret.encode(), f'{body} {message}'.encode(), hashlib.sha256).hexdigest()
    return f'X-Kamsync: {body};proof={proof}\r\n'


def incarnation(node):
    return node.cluster.store.node_record(node.id).split('"inc":"')[1].split('"')[0]


def with_header(message, header):
    first, rest = message.split('\r\n', 1)
    return f'{first}\r\n{header}{rest}'
