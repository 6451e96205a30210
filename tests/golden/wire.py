"""ZooKeeper's client protocol by hand: raw frames, and where in a reply run-dependent bytes are.

Used to record golden bytes from the Java server and to hold another server against them. It is
deliberately not a client library: it sends what it is told, also nonsense.
"""

import socket
import struct

# Request types (ZooDefs.OpCode).
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN = 1, 2, 3, 4, 5, 6, 7, 8
SYNC, PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG, CHECK_WATCHES = (
    9, 11, 12, 13, 14, 15, 16, 17)  # fmt: skip
REMOVE_WATCHES, CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = 18, 19, 20, 21, 22
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER = 100, 101, 102, 103, 104
SET_WATCHES2, ADD_WATCH, WHO_AM_I = 105, 106, 107
CREATE_SESSION, CLOSE_SESSION, ERROR = -10, -11, -1

NOTIFICATION_XID, PING_XID, AUTH_XID, SET_WATCHES_XID = -1, -2, -4, -8
ALL = 31
# A server that says nothing for so many seconds is taken for silent.
SILENCE = 3.0
WORLD = [(ALL, "world", "anyone")]


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def flag(b):
    return b"\1" if b else b"\0"


def buffer(data):
    return i32(-1) if data is None else i32(len(data)) + data


def string(s):
    return buffer(None if s is None else s.encode())


def strings(items):
    return i32(len(items)) + b"".join(map(string, items))


def acls(acl):
    if acl is None:
        return i32(-1)
    return i32(len(acl)) + b"".join(i32(p) + string(s) + string(i) for p, s, i in acl)


def create(path, data=b"", acl=WORLD, flags=0):
    return string(path) + buffer(data) + acls(acl) + i32(flags)


def multi(*operations):
    """operations: (type, body) pairs."""
    parts = [i32(kind) + flag(False) + i32(-1) + body for kind, body in operations]
    return b"".join(parts) + i32(-1) + flag(True) + i32(-1)


class Frame:
    """One length-prefixed frame and the (offset, length) of its bytes that differ by run."""

    def __init__(self, body, varying=()):
        self.bytes = i32(len(body)) + body
        self.varying = [(offset + 4, length) for offset, length in varying]


class Reader:
    """Walks a reply and notes its varying fields: times, session ids, passwords."""

    def __init__(self, body):
        self.body, self.at, self.varying = body, 0, []

    def int(self, width=4):
        value = int.from_bytes(self.body[self.at : self.at + width], "big", signed=True)
        self.at += width
        return value

    def varies(self, width):
        self.varying.append((self.at, width))
        self.at += width

    def buffer(self):
        length = self.int()
        self.at += max(length, 0)

    def strings(self):
        for _ in range(max(self.int(), 0)):
            self.buffer()

    def stat(self):
        self.at += 16
        self.varies(16)
        self.at += 12
        if int.from_bytes(self.body[self.at : self.at + 8], "big"):
            self.varies(8)
        else:
            self.at += 8
        self.at += 16

    def acls(self):
        for _ in range(max(self.int(), 0)):
            self.at += 4
            self.buffer()
            self.buffer()

    def result(self, kind):
        """The part of a reply after its header, for a request of type `kind`."""
        if kind in (CREATE, SYNC):
            self.buffer()
        elif kind in (CREATE2, CREATE_CONTAINER, CREATE_TTL):
            self.buffer()
            self.stat()
        elif kind in (EXISTS, SET_DATA, SET_ACL):
            self.stat()
        elif kind == GET_DATA:
            self.buffer()
            self.stat()
        elif kind == GET_ACL:
            self.acls()
            self.stat()
        elif kind == GET_CHILDREN2:
            self.strings()
            self.stat()
        elif kind in (MULTI, MULTI_READ):
            self.multi()

    def multi(self):
        while self.at < len(self.body):
            kind = self.int()
            done = self.int(1)
            self.int()
            if done:
                return
            if kind == ERROR:
                self.int()
            else:
                self.result(kind)


class Connection:
    """One raw client connection; `log` gets what passes over it as (name, sign, frame)."""

    def __init__(self, address, name, log):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), SILENCE)
        self.name, self.log = name, log
        self.xid = 0
        self.session, self.password = 0, bytes(16)
        log.append((name, "+", None))

    def write(self, body, varying=()):
        frame = Frame(body, varying)
        self.log.append((self.name, ">", frame))
        self.socket.sendall(frame.bytes)

    def read(self):
        """The next frame's body; None when the server has closed the connection or is silent."""
        try:
            head = self._exactly(4)
            body = head and self._exactly(int.from_bytes(head, "big"))
        except TimeoutError:
            self.log.append((self.name, "!", None))
            return None
        if body is None:
            self.log.append((self.name, "-", None))
        return body

    def _exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                chunk = self.socket.recv(length - len(data))
            except ConnectionError:
                return None
            if not chunk:
                return None
            data += chunk
        return data

    def received(self, body, varying=()):
        self.log.append((self.name, "<", Frame(body, varying)))

    def connect(self, timeout=30000, session=0, password=bytes(16), seen=0, read_only=False):
        """The handshake; read_only None leaves the flag out, as clients before 3.4 do."""
        body = i32(0) + i64(seen) + i32(timeout) + i64(session) + buffer(password)
        if read_only is not None:
            body += flag(read_only)
        self.write(body, [(16, 8), (28, len(password))] if session else [])
        reply = self.read()
        if reply is None:
            return None
        self.session = int.from_bytes(reply[8:16], "big", signed=True)
        self.password = reply[20:36]
        self.received(reply, [(8, 8), (20, 16)] if self.session else [])
        return self

    def send(self, kind, body=b"", xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.write(i32(xid) + i32(kind) + body)
        return xid

    def call(self, kind, body=b"", xid=None):
        """Sends a request and takes frames up to its reply; returns the reply's error code, or None
        when the server closes the connection."""
        xid = self.send(kind, body, xid)
        while (reply := self.read()) is not None:
            reader = Reader(reply)
            got, _zxid, error = reader.int(), reader.int(8), reader.int()
            if got == xid and reader.at < len(reply):
                reader.result(kind)
            self.received(reply, reader.varying)
            if got == xid:
                return error
        return None

    def event(self):
        """Takes one frame that the server sends unasked."""
        body = self.read()
        if body is not None:
            self.received(body)

    def end(self):
        """closeSession, and the server's closing of the connection."""
        self.call(CLOSE_SESSION)
        assert self.read() is None
