"""Loaded by Dask's worker processes: Ctrl-C reaches a whole group, and who started them ends them."""

from __future__ import annotations

import signal
import threading

if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
