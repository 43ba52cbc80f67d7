"""The processes of tests/system, and the Debian mirror of tests/package."""
import os
import sys

for folder in ('system', 'package'):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', folder))
