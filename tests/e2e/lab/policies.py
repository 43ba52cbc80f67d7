"""Steering policies: who gets a packet?

A policy is any function that takes a Packet and returns a node ('a', 'b',
'c') or None, which loses the packet.  These are the usual ones.
"""
import hashlib
import itertools
import re

_NUMBER = re.compile(r'-(\d+)')


def to(node):
    """Everything to one node."""
    return lambda packet: node


def by_kind(table, default):
    """by_kind({'CANCEL': 'b', '200/INVITE': 'c'}, default='a')

    A key is a kind, or kind/CSeq method where that matters.
    """
    return lambda packet: _look_up(table, packet, default)


def at_random(seed, nodes='abc'):
    """Each packet anywhere, but the same seed always gives the same choice.

    The choice depends on what the packet is, not on when it comes: two runs
    with the same calls steer them alike though their timing differs.
    """
    nodes = list(nodes)

    def policy(packet):
        key = (f'{seed} {packet.call_id} {packet.kind} {packet.cseq} '
               f'{packet.cseq_method} {packet.side} {packet.port} '
               f'{packet.occurrence}')
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return nodes[int.from_bytes(digest, 'big') % len(nodes)]
    return policy


def by_call(table, default='a'):
    """The number in the Call-ID selects the row of the table.

    table is a list of dictionaries as for by_kind(); call 17 gets row 17
    modulo the number of rows.  See combinations().
    """
    return lambda packet: _look_up(combination_of(packet.call_id, table),
                                   packet, default)


def combinations(kinds, nodes='abc'):
    """Every way to spread these kinds over the nodes, as a table."""
    return [dict(zip(kinds, choice))
            for choice in itertools.product(nodes, repeat=len(kinds))]


def combination_of(call_id, table):
    return table[call_number(call_id) % len(table)]


def call_number(call_id):
    """'cancel-17-r2@lab' is call number 17 of run r2."""
    found = _NUMBER.search(call_id)
    return int(found[1]) if found else 0


def lose(condition, otherwise):
    """Lose the packets for which condition(packet) is true."""
    return lambda packet: None if condition(packet) else otherwise(packet)


def _look_up(table, packet, default):
    exact = f'{packet.kind}/{packet.cseq_method}'
    return table.get(exact, table.get(packet.kind, default))
