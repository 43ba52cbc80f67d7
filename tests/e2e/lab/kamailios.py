"""Which Kamailio a node runs: the installed one, or what KAMSYNC_KAMAILIOS has, commands separated by ";" (tests/kamailio.sh):
one for all nodes, or one for each."""
import os
import re
import subprocess

COMMANDS = [command.split() for command in os.environ.get('KAMSYNC_KAMAILIOS', 'kamailio').split(';')]


def kamailio_of(number=0):
    """The first words of the command line of a node, counted from 0."""
    return COMMANDS[number % len(COMMANDS)]


def versions():
    """(major, minor, patch) of each."""
    said = [subprocess.run([*command, '-v'], capture_output=True, text=True, check=True).stdout for command in COMMANDS]
    return [tuple(map(int, re.search(r'kamailio (\d+)\.(\d+)\.(\d+)', text).groups())) for text in said]
