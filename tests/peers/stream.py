"""Pours the lines of a file into evpub and has the hub killed in mid-stream: stream.py FILE KILLS evpub -p ARG...

Reads the hub's pid from the fifo `control`, kills that hub once so many events were acknowledged, with thousands under
way, writes a line to the fifo `report`, and goes on when `control` has the next pid. Ends with evpub's exit status.
"""
import os
import random
import signal
import subprocess
import sys
import threading

AHEAD = 20_000  # lines under way at most, so that every kill finds the stream running
PIECE = 200


class Stream:
    def __init__(self, lines, command):
        self.lines = lines
        self.acked = 0
        self.ended = False
        self.seqs = []
        self.moved = threading.Condition()
        self.evpub = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.write, self.read)]
        for thread in self.threads:
            thread.start()

    def write(self):
        try:
            for at in range(0, len(self.lines), PIECE):
                self.wait_for(at - AHEAD)
                self.evpub.stdin.write(b"".join(self.lines[at:at + PIECE]))
                self.evpub.stdin.flush()
            self.evpub.stdin.close()
        except BrokenPipeError:
            pass

    def read(self):
        rest = b""
        while data := os.read(self.evpub.stdout.fileno(), 1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            self.seqs += whole
            with self.moved:
                self.acked = len(self.seqs)
                self.moved.notify_all()
        with self.moved:
            self.ended = True
            self.moved.notify_all()

    def wait_for(self, count):
        """Until so many events were acknowledged. False when evpub has ended before."""
        with self.moved:
            self.moved.wait_for(lambda: self.acked >= count or self.ended)
            return self.acked >= count


def main():
    name, kills, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    with open(name, "rb") as file:
        lines = file.readlines()
    control, report = open("control"), open("report", "w", buffering=1)
    stream, chance = Stream(lines, command), random.Random(7)
    span = (len(lines) - AHEAD) // kills
    for kill in range(kills):
        pid = int(control.readline())
        if not stream.wait_for(kill * span + chance.randrange(1, span)):
            break
        os.kill(pid, signal.SIGKILL)
        report.write("killed\n")
    for thread in stream.threads:
        thread.join()
    status = stream.evpub.wait()
    if not status and stream.seqs != [b"%d" % seq for seq in range(1, len(lines) + 1)]:
        sys.exit("evpub -p: the seqs are not those from 1 on")
    sys.exit(status)


main()
