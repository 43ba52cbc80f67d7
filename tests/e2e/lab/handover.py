"""A message as one Kamailio hands it to another, in a header X-Kamsync with its proof, but made by hand."""
import hashlib
import hmac
import itertools
import time

from lab.cluster import SECRET
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


def alive(node, branch, age=0):
    """An answer to a probe with that branch, as the node's Kamailio would get it: its proof is good."""
    sec = int(time.time()) - age
    proof = hmac.new(SECRET.encode(), f'alive {sec} {branch}'.encode(), hashlib.sha256).hexdigest()
    return (f'SIP/2.0 200 Alive\r\nVia: SIP/2.0/UDP {node.ip}:5060;branch={branch}\r\n'
            f'From: <sip:kamsync@{node.ip}:5060>;tag=1\r\nTo: <sip:x>;tag=2\r\nCall-ID: {branch}\r\n'
            f'CSeq: 1 OPTIONS\r\nX-Kamsync: {sec} {proof}\r\nContent-Length: 0\r\n\r\n')
