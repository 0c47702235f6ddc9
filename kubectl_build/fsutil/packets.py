"""fsutil's packets as bytes. The messages are protobuf's (proto/fsutil.proto). Two are made by hand: the head of a data packet, so that
a file's bytes are not copied into a message first, and a STAT without anything rare, of which large contexts have 200,000."""

from __future__ import annotations

from functools import lru_cache

from kubectl_build.fsutil.stat import Stat
from kubectl_build.proto.fsutil_pb2 import Packet
from kubectl_build.proto.fsutil_pb2 import Stat as StatMessage
from kubectl_build.proto.wire import bytes_head, varint

STAT = Packet.PACKET_STAT
REQ = Packet.PACKET_REQ
DATA = Packet.PACKET_DATA
FIN = Packet.PACKET_FIN
ERR = Packet.PACKET_ERR

_DATA_FIELD = Packet.DATA_FIELD_NUMBER

END_OF_STATS = b""
"""The packet after the last STAT: of type STAT (0) without a stat, hence with no field at all."""

FINISHED = Packet(type=FIN).SerializeToString()


def encode_stat(stat: Stat) -> bytes:
    """Return a STAT packet. Owner and group are left at 0, root."""
    path, mode, size, mod_time, linkname, devmajor, devminor, xattrs = stat
    if linkname or devmajor or devminor or xattrs or mod_time <= 0:
        return _rare_stat(stat)
    name = path.encode()
    body = b"\x0a%b%b%b%b%b" % (varint(len(name)), name, _mode_field(mode), _size_field(size), _time_field(mod_time))
    return b"\x12%b%b" % (varint(len(body)), body)


def _rare_stat(stat: Stat) -> bytes:
    message = StatMessage(path=stat.path, mode=stat.mode, size=stat.size, modTime=stat.mod_time, linkname=stat.linkname)
    if stat.devmajor or stat.devminor:
        message.devmajor, message.devminor = stat.devmajor, stat.devminor
    if stat.xattrs:
        message.xattrs.update(stat.xattrs)
    return Packet(stat=message).SerializeToString()


@lru_cache(maxsize=256)
def _mode_field(mode: int) -> bytes:
    return b"\x10" + varint(mode) if mode else b""


@lru_cache(maxsize=1024)
def _size_field(size: int) -> bytes:
    return b"\x28" + varint(size) if size else b""


@lru_cache(maxsize=64)  # files that came together mostly have the time of one tick of the kernel's clock
def _time_field(mod_time: int) -> bytes:
    return b"\x30" + varint(mod_time)


def encode_data_head(file_id: int, length: int) -> bytes:
    """Return what stands before `length` bytes of file `file_id` in a DATA packet. Length 0 is the packet that ends the file."""
    head = b"\x08\x02"
    if file_id:
        head += b"\x18" + varint(file_id)
    return head + bytes_head(_DATA_FIELD, length) if length else head


def encode_request(file_id: int) -> bytes:
    """Return the REQ packet with which a receiver asks for a file's contents."""
    return Packet(type=REQ, ID=file_id).SerializeToString()


def decode_stat(message: StatMessage) -> Stat:
    """Return the value of a STAT packet's message."""
    return Stat(
        message.path,
        message.mode,
        message.size,
        message.modTime,
        message.linkname,
        message.devmajor,
        message.devminor,
        dict(message.xattrs) or None,
    )
