#!/usr/bin/python3
"""terminal.py: runs a command that copies its stdin, as cat(1) does, in a terminal of its own, from an interactive bash:

    terminal.py COMMAND ARG...

types lines, ^Z, fg and ^C, and expects of it what cat does. Exit 1 and what was on the screen where something else comes.
"""
import os
import pty
import select
import shlex
import sys
import time

PATIENCE_S = 20


class Terminal:
    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "prompt\\n"
            os.environ["TERM"] = "dumb"
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
        self.seen = self.all = b""

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text):
        """Waits until it is printed, behind what was waited for before; returns what came before it."""
        deadline = time.monotonic() + PATIENCE_S
        while text.encode() not in self.seen:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                sys.exit(f"no {text!r} in: {self.all.decode(errors='replace')}")
            piece = os.read(self.fd, 65536)
            self.seen += piece
            self.all += piece
        before, self.seen = self.seen.split(text.encode(), 1)
        return before

    def expect_stopped(self):
        """^Z reaches each process of the command by itself, and one that is not stopped yet may still read what is typed
        next."""
        self.expect("Stopped")
        deadline = time.monotonic() + PATIENCE_S
        while any(state != "T" for state in self.states()) and time.monotonic() < deadline:
            select.select([], [], [], 0.01)

    def expect_stopped_by_reading(self):
        """A job in the background that reads the terminal is stopped. Asks until the shell knows: `fg` does not continue
        a job that the shell takes for a running one."""
        deadline = time.monotonic() + PATIENCE_S
        stopped = False
        while not stopped and time.monotonic() < deadline:
            self.type("jobs; echo asked\n")
            stopped = b"Stopped" in self.expect("\r\nasked\r\n")
            self.expect("prompt\r\n")

    def states(self):
        """Of the processes of the terminal's session, but the shell."""
        for entry in os.listdir("/proc"):
            try:
                state, _, _, session = open(f"/proc/{int(entry)}/stat").read().rpartition(")")[2].split()[:4]
            except (ValueError, OSError):
                continue
            if int(session) == self.pid and int(entry) != self.pid:
                yield state


def main():
    t, command = Terminal(), shlex.join(sys.argv[1:])
    t.expect("prompt\r\n")
    t.type(command + "\n")
    t.expect("\r\n")
    t.type("one\n")
    t.expect("one\r\none\r\n")  # the terminal's echo, and the copy
    t.type("\x1a")
    t.expect_stopped()
    t.expect("prompt\r\n")
    t.type("fg\n")
    t.expect("fg\r\n" + command + "\r\n")
    t.type("two\n")
    t.expect("two\r\ntwo\r\n")
    t.type("\x1a")
    t.expect_stopped()
    t.expect("prompt\r\n")
    t.type("bg; echo in the background\n")
    t.expect("\r\nin the background\r\n")
    t.expect("prompt\r\n")
    t.expect_stopped_by_reading()
    t.type("fg\n")
    t.expect("fg\r\n" + command + "\r\n")
    t.type("three\n")
    t.expect("three\r\nthree\r\n")
    t.type("\x03")
    t.expect("prompt\r\n")
    t.type("echo status $?\n")
    t.expect("\r\nstatus 130\r\n")
    os.close(t.fd)


main()
