"""The processes of tests/system, which knows how to run a systemd where none is booted, and what tests/e2e/lab knows of SIP and
network namespaces."""
import os
import sys

for folder in ('system', 'e2e'):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', folder))
