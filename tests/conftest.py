"""What holds for the whole suite."""

from __future__ import annotations

import signal

# A suite that a shell starts in the background inherits an ignored Ctrl-C, and so would every process that it starts;
# the tests of Ctrl-C need the one that a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)
