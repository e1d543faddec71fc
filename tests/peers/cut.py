"""cut.py LISTEN TARGET NEEDLE: passes on what comes to the socket LISTEN to TARGET, and back; but the first time that NEEDLE
stands in an answer, that is dropped and its connection is cut. Writes a newline to fd 9 when it listens."""
import os
import socket
import sys
import threading


def main():
    listen, target, needle = sys.argv[1], sys.argv[2], sys.argv[3].encode()
    once = threading.Lock()

    def pump(source, sink, answers):
        try:
            while data := source.recv(65536):
                if answers and needle in data and once.acquire(blocking=False):
                    break
                sink.sendall(data)
        except OSError:
            pass  # cut by the other
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # by the other

    def start(*args):
        threading.Thread(target=pump, args=args, daemon=True).start()

    server = socket.socket(socket.AF_UNIX)
    server.bind(listen)
    server.listen()
    os.write(9, b"\n")
    os.close(9)
    while True:
        client = server.accept()[0]
        hub = socket.socket(socket.AF_UNIX)
        hub.connect(target)
        start(client, hub, False)
        start(hub, client, True)


main()
