"""What every test relies on."""

from __future__ import annotations

import signal

# A shell starts what it sends to the background with SIGINT ignored, and children inherit that:
# tests that interrupt a process would wait for ever. Here it interrupts, however pytest came up.
signal.signal(signal.SIGINT, signal.default_int_handler)
