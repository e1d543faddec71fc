"""evbus and its peers: how each is started and spoken to, and what it promises.

A system is a context: `with Redis(bench, fsync="always") as redis` starts its broker, fresh, in a directory of its own,
and stops it at the end. Its methods give the commands that do the work: `publish` reads lines from stdin and ends when
all are taken, as far as the system's promise goes; `subscribe` and `member` print lines until they are killed; `replay`
prints what is stored. What a system cannot do raises BenchError.

Each peer is set up for speed as its own manual says: over its Unix socket where it has one (evbus, mosquitto, redis),
pipelined, without limits on what waits for a reader.
"""
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import time

from benchlib.processes import READY_S, BenchError, cpu_seconds, wait_until

TOPIC = "bench.line"


def find_tool(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class System:
    name = ""
    stored = "nothing"  # when it says ok: in two or three words
    promise = ""  # the same in a sentence
    limit = False  # no peer, but what the machine or the transport can do at best
    pace = 1_000_000  # lines a second that it manages, about: how much it is given to do in one run
    ready = ("-v",)  # pipe_drive's option: how its subscriber says that it is subscribed
    needs = ()  # programs and headers
    instrument = None  # of tests/bench

    def __init__(self, bench):
        self.bench, self.child, self.directory = bench, None, None

    @classmethod
    def missing(cls, bench):
        """What is not there that it needs; None if all is."""
        for name in cls.needs:
            if not (os.path.exists(name) if name.startswith("/") else find_tool(name)):
                return name
        if cls.instrument and not bench.tool(cls.instrument).exists():
            return cls.instrument
        return None

    def __enter__(self):
        self.directory = self.bench.directory(self.name)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.child:
            self.bench.children.stop(self.child)
            self.child = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        """Nothing to start."""

    def make_group(self):
        """For `member`; most are made by the first one."""

    def start_broker(self, argv):
        with open(self.directory / "log", "ab") as log:
            self.child = self.bench.children.start(argv, cwd=self.directory, stdout=log, stderr=log)

    def tool(self, *args):
        return [str(self.bench.tool(self.instrument)), *map(str, args)]

    def cpu_s(self):
        """CPU seconds of its broker until now."""
        return cpu_seconds(self.child.pid) if self.child else 0

    def refuse(self, *_args, **_options):
        raise BenchError(f"{self.name}: cannot do this")

    publish = publish_topics = subscribe = member = replay = one_shot = refuse


class Cat(System):
    name, limit, ready = "cat | cat", True, ()
    promise = "nothing is stored, nobody says ok: what the kernel's pipes do"
    pace = 2_000_000

    def start(self):
        os.mkfifo(self.directory / "fifo")

    def publish(self, now=False, readers=1):
        return ["sh", "-c", f"exec cat >{self.directory}/fifo"]

    def subscribe(self):
        return ["cat", str(self.directory / "fifo")]


class Zmq(System):
    name, limit, instrument = "libzmq", True, "zmq_pipe"
    promise = "PUB to SUB over ipc, each line a message, no hub: nothing is stored, nobody says ok"

    def url(self):
        return f"ipc://{self.bench.sockets}/zmq"

    def publish(self, now=False, readers=1):
        return self.tool("pub", self.url(), readers)

    def subscribe(self):
        return self.tool("sub", self.url())


# ---- evbus ----


class Evbus(System):
    name, stored = "evbus", "synced"
    promise = (
        "`--sync always`, the default: the batch is in the journal and `fdatasync` has returned before the publisher "
        "hears ok and before any subscriber sees it; what a group's members have is synced once a second: a power cut "
        "can have events handed out once more, never lost"
    )
    sync, how = "always", ()

    def __init__(self, bench, options=()):
        super().__init__(bench)
        self.options, self.opened_s = options, 0.0
        self.url = f"ipc://{bench.sockets}/hub"

    def start(self):
        self.url = f"ipc://{self.bench.sockets}/{self.directory.name}"
        self.open()

    def open(self):
        """Starts the hub on the journal that is there, and takes the time until it says that it is ready."""
        read_end, write_end = os.pipe()
        argv = [self.bench.program("evbusd"), "-u", self.url, "-d", self.directory / "journal", "--sync", self.sync]
        (self.directory / "journal").mkdir(exist_ok=True)
        begin = time.monotonic()
        try:
            with open(self.directory / "log", "ab") as log:
                argv += ["--ready-fd", write_end, *self.options]
                self.child = self.bench.children.start(argv, pass_fds=[write_end], stdout=log, stderr=log)
        finally:
            os.close(write_end)
        with os.fdopen(read_end, "rb") as ready:
            if not select.select([ready], [], [], READY_S)[0] or not ready.read(1):
                raise BenchError(f"evbusd is not ready: {last_line(self.directory / 'log')}")
        self.opened_s = time.monotonic() - begin

    def close(self, first=signal.SIGTERM):
        self.bench.children.stop(self.child, first)
        self.child = None

    def program(self, name, *args):
        return [str(self.bench.program(name)), "-u", self.url, *map(str, args)]

    def publish(self, now=False, readers=1):
        return self.program("evpub", *self.how, TOPIC)

    def publish_topics(self):
        return self.program("evpub", "-T")

    def subscribe(self):
        return self.program("evsub", "-v", TOPIC)

    def member(self):
        return self.program("evsub", "-v", "-g", "work", TOPIC)

    def replay(self, count):
        return self.program("evsub", "--from", "first", "-e")

    def one_shot(self, payload):
        return self.program("evpub", TOPIC, payload)


class EvbusSecond(Evbus):
    name, stored, sync = "evbus --sync 1000", "synced each second", "1000"
    promise = "ok when it is written; synced once a second"


class EvbusLive(Evbus):
    name, stored, how = "evbus --live", "nothing", ("--live",)
    promise = "`evpub --live`: nothing is stored; a loss is counted and said"

    publish_topics = member = replay = one_shot = System.refuse


class EvbusGroup(Evbus):
    name = "evbus, a group"
    promise = "the same, read by `evsub -g`: each event acknowledged to the hub"

    subscribe = Evbus.member


def last_line(path):
    lines = path.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"


# ---- mosquitto ----


def answers(path):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class Mosquitto(System):
    name, pace = "mosquitto QoS 0", 100_000
    promise = "`mosquitto_pub -l`, `mosquitto_sub`: nothing is stored, nobody says ok, lines may be dropped"
    needs = ("mosquitto", "mosquitto_pub", "mosquitto_sub")
    qos = 0
    settings = ("max_queued_messages 0", "max_inflight_messages 0")

    def start(self):
        path = self.bench.sockets / self.directory.name
        lines = [f"listener 0 {path}", "allow_anonymous true", "persistence false", "log_type none", *self.settings]
        if os.geteuid() == 0:
            lines.append("user root")
        (self.directory / "conf").write_text("\n".join(lines) + "\n")
        self.start_broker([find_tool("mosquitto"), "-c", self.directory / "conf"])
        wait_until(lambda: answers(path), self.child, "mosquitto")
        self.ready = ("-q", "3", "-p", "exec mosquitto_pub --unix " + f"{path} -t {TOPIC} -m ready")
        self.where = ["--unix", str(path), "-q", str(self.qos)]

    def publish(self, now=False, readers=1):
        return ["mosquitto_pub", *self.where, "-t", TOPIC, "-l"]

    def subscribe(self):
        return ["mosquitto_sub", *self.where, "-t", TOPIC]

    def member(self):
        return ["mosquitto_sub", *self.where, "-t", f"$share/work/{TOPIC}"]

    def one_shot(self, payload):
        return ["mosquitto_pub", *self.where, "-t", TOPIC, "-m", payload]


class MosquittoAck(Mosquitto):
    name, qos, stored, pace = "mosquitto QoS 1", 1, "in memory", 50_000
    promise = "ok means that the broker has it in memory (its persistence is a file written at times, not a log)"


# ---- redis ----


class Redis(System):
    """fsync: always, everysec; None: publish and subscribe without a stream."""

    instrument, needs = "redis_pipe", ("redis-server", "redis-cli")
    pace, fsync = 200_000, None
    settings = ("--client-output-buffer-limit", "pubsub 0 0 0")

    def start(self):
        path = self.bench.sockets / self.directory.name
        argv = ["redis-server", "--port", 0, "--unixsocket", path, "--dir", self.directory, "--daemonize", "no"]
        argv += ["--save", "", "--appendonly", "yes" if self.fsync else "no", *self.settings]
        self.start_broker(argv + (["--appendfsync", self.fsync] if self.fsync else []))
        wait_until(lambda: answers(path), self.child, "redis-server")
        self.path = path


class RedisPubSub(Redis):
    name = "redis pub/sub"
    promise = "PUBLISH, SUBSCRIBE: nothing is stored; ok means that it was passed on"

    def publish(self, now=False, readers=1):
        return self.tool("say", self.path, TOPIC)

    def subscribe(self):
        return self.tool("hear", self.path, TOPIC)


class RedisStream(Redis):
    name, stored, fsync = "redis stream, always", "synced", "always"
    promise = "XADD with `appendonly yes`, `appendfsync always`: in the append-only file and synced before ok"

    def publish(self, now=False, readers=1):
        return self.tool("pub", self.path, TOPIC)

    def publish_topics(self):
        return self.tool("pub", self.path, "-")

    def subscribe(self):
        return self.tool("read", self.path, TOPIC)

    def member(self):
        return ["sh", "-c", f"exec {self.tool('group')[0]} group {self.path} {TOPIC} work m$$"]

    def replay(self, count):
        return self.tool("read", self.path, TOPIC, count)

    def one_shot(self, payload):
        return ["redis-cli", "-s", str(self.path), "xadd", TOPIC, "*", "p", payload]


class RedisSecond(RedisStream):
    name, stored, fsync = "redis stream, everysec", "synced each second", "everysec"
    promise = "the same with `appendfsync everysec`: ok when it is written; synced once a second"


# ---- NATS ----


class Nats(System):
    name, instrument, needs = "NATS core", "nats_pipe", ("nats-server",)
    promise = "nothing is stored, nobody says ok"
    jetstream = False
    settings = ("max_pending: 1GB", "write_deadline: '60s'")

    def start(self):
        """The server chooses a free port and says which in a file, whole when it has its name."""
        lines = ["host: 127.0.0.1", "port: -1", f"ports_file_dir: '{self.directory}'", "max_payload: 8MB"]
        lines += self.settings
        if self.jetstream:
            lines.append(f"jetstream {{ store_dir: '{self.directory}/js' }}")
        (self.directory / "conf").write_text("\n".join(lines) + "\n")
        self.start_broker(["nats-server", "-c", self.directory / "conf"])
        wait_until(self.find_url, self.child, "nats-server")
        if self.jetstream:
            self.bench.children.run(self.tool("jsmake", self.url, TOPIC))

    def find_url(self):
        with contextlib.suppress(IndexError, json.JSONDecodeError):
            ports = list(self.directory.glob("*.ports"))
            self.url = json.loads(ports[0].read_text())["nats"][0]
            return True
        return False

    def publish(self, now=False, readers=1):
        return self.tool("pubnow" if now else "pub", self.url, TOPIC)

    def subscribe(self):
        return self.tool("sub", self.url, TOPIC)


class JetStream(Nats):
    name, jetstream, stored, pace = "JetStream", True, "page cache", 150_000
    promise = (
        "file storage: written to the page cache before ok; the server syncs every two minutes (its default, and this "
        "version has no other), so that a power cut can take back what was acknowledged"
    )

    def publish(self, now=False, readers=1):
        return self.tool("jspubnow" if now else "jspub", self.url, TOPIC)

    def publish_topics(self):
        return self.tool("jspub", self.url, "-")

    def subscribe(self):
        return self.tool("jssub", self.url, TOPIC)

    def make_group(self):
        self.bench.children.run(self.tool("jsmake", self.url, TOPIC, "work"))

    def member(self):
        return self.tool("jsgroup", self.url, TOPIC, "work")

    def replay(self, count):
        return self.tool("jssub", self.url, TOPIC, count)

    def one_shot(self, payload):
        return self.tool("jsone", self.url, TOPIC, payload)


# ---- who takes part ----

LIVE = [Cat, Zmq, Evbus, EvbusLive, Nats, RedisPubSub, Mosquitto, RedisStream, RedisSecond, JetStream]
STORING = [Evbus, EvbusSecond, RedisStream, RedisSecond, JetStream]
ALL = [Cat, Zmq, Evbus, EvbusSecond, EvbusLive, EvbusGroup, Mosquitto, MosquittoAck, RedisPubSub, RedisStream]
ALL += [RedisSecond, Nats, JetStream]
BY_NAME = {system.name: system for system in ALL}
PEER_SETS = ("mosquitto", "redis", "nats", "plots")  # of scripts/deps
