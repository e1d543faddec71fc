"""Runs a program on a screen of its own and does what it is told on stdin, a line each:
  see TEXT         waits until the regular expression TEXT is found on the screen (lines joined by newlines)
  gone TEXT        waits until it is not
  keys TEXT        types it; Python's escapes
  size WxH         changes the screen's size
  show             prints the screen
  raw [not ]TEXT   fails unless TEXT was (not) found in all that was written
  touch FILE       makes the file, with the program's pid in it
  pause SECONDS    only shows
  signal NAME      sends a signal
  exit [STATUS]    waits until the program has ended, with this status, and that the terminal is as it was;
                   ends
screen.py WxH COMMAND ARG…; exits 1 with the screen on stderr when something does not come within PATIENCE."""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pyte

PATIENCE = float(os.environ.get("PATIENCE", "20"))


def parse_size(text):
    width, height = text.split("x")
    return int(width), int(height)


def set_size(fd, width, height):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


width, height = parse_size(sys.argv[1])
screen = pyte.Screen(width, height)
stream = pyte.ByteStream(screen)
master, slave = pty.openpty()
set_size(master, width, height)
before = termios.tcgetattr(slave)
everything = b""
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1):
        os.dup2(slave, fd)
    os.close(master)
    os.environ.setdefault("TERM", "linux")
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)


def text():
    return "\n".join(line.rstrip() for line in screen.display)


def fail(why):
    sys.exit(f"screen.py: {why}\n{text()}\n")


def feed(seconds):
    """Takes in what the program writes within so many seconds. False: nothing came."""
    global everything
    if not select.select([master], [], [], max(0, seconds))[0]:
        return False
    data = os.read(master, 65536)
    everything += data
    stream.feed(data)
    return True


def wait_until(holds, why):
    end = time.monotonic() + PATIENCE
    while not holds():
        if not feed(end - time.monotonic()):
            fail(why)


def ended():
    pid, status = os.waitpid(child, os.WNOHANG)
    return status if pid else None


def wait_for_end(wanted):
    end = time.monotonic() + PATIENCE
    while (status := ended()) is None:
        if time.monotonic() > end:
            fail("it does not end")
        feed(0.05)
    while feed(0):
        pass
    if os.waitstatus_to_exitcode(status) != wanted:
        fail(f"it ended with {os.waitstatus_to_exitcode(status)}, not {wanted}")
    if termios.tcgetattr(slave) != before:
        fail("the terminal's modes are not what they were")


for line in sys.stdin:
    word, _, rest = line.rstrip("\n").partition(" ")
    if word == "see":
        wait_until(lambda: re.search(rest, text(), re.M), f"does not come: {rest}")
    elif word == "gone":
        wait_until(lambda: not re.search(rest, text(), re.M), f"does not go: {rest}")
    elif word == "keys":
        os.write(master, codecs.decode(rest, "unicode_escape").encode("latin-1"))
    elif word == "size":
        width, height = parse_size(rest)
        screen.resize(height, width)
        set_size(master, width, height)
    elif word == "show":
        print(text(), flush=True)
    elif word == "touch":
        with open(rest, "w", encoding="utf-8") as file:
            print(child, file=file)
    elif word == "pause":
        end = time.monotonic() + float(rest)
        while time.monotonic() < end:
            feed(end - time.monotonic())
    elif word == "signal":
        os.kill(child, getattr(signal, "SIG" + rest))
    elif word == "exit":
        wait_for_end(int(rest or 0))
        sys.exit(0)
    elif word == "raw":
        if (rest.startswith("not ")) == bool(re.search(rest.removeprefix("not "), everything.decode("utf-8", "replace"))):
            fail(f"what it wrote: {rest}")
    elif word:
        fail(f"{word}: not known here")
