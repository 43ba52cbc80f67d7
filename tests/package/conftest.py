"""The processes of tests/system, which knows how to run a systemd where none is booted."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'system'))
