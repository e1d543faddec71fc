#!/usr/bin/python3
"""unread.py: runs a command in a terminal of its own, whose screen nobody reads:

    unread.py COMMAND ARG...

prints its pid, waits for its end and exits with its status, 128 and the signal's number for one that was killed.
"""
import os
import pty
import sys

pid, screen = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
print(pid, flush=True)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(status if status >= 0 else 128 - status)
