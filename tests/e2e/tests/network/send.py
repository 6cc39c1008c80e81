"""Sends packets whose sender, receiver and ports are whatever one likes. Jobs come as JSON on standard input:
{"from": address, "to": [addresses], "tcp": [first, last], "udp": [first, last], "six": interface or null}"""
import json
import socket
import struct
import sys


def words(data):
    return sum(struct.unpack("!%dH" % (len(data) // 2), data))


def fold(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def four(job):
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    source = socket.inet_aton(job["from"])
    for to in job["to"]:
        target = socket.inet_aton(to)
        for name, number, length in (("tcp", 6, 20), ("udp", 17, 8)):
            if not job.get(name):
                continue
            first, last = job[name]
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, number, 0, source, target)
            known = words(source + target) + number + length
            for port in range(first, last + 1):
                if number == 6:
                    fixed = (40000 + port % 20000, port, 1, 0, 0x5002, 64240)
                    total = known + fixed[0] + port + 1 + 0x5002 + 64240
                    body = struct.pack("!HHIIHHHH", *fixed, fold(total), 0)
                else:
                    body = struct.pack("!HHHH", 40000 + port % 20000, port, 8, 0)
                try:
                    out.sendto(head + body, (to, 0))
                except OSError:
                    break  # no way leads there


def six(job):
    scope = socket.if_nametoindex(job["six"])
    for name, number in (("tcp", socket.IPPROTO_TCP), ("udp", socket.IPPROTO_UDP)):
        out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, number)
        out.setsockopt(socket.IPPROTO_IPV6, 7, 16 if number == socket.IPPROTO_TCP else 6)  # IPV6_CHECKSUM
        for to in job["to"]:
            for port in range(job[name][0], job[name][1] + 1):
                if number == socket.IPPROTO_TCP:
                    body = struct.pack("!HHIIHHHH", 40000, port, 1, 0, 0x5002, 64240, 0, 0)
                else:
                    body = struct.pack("!HHHH", 40000, port, 8, 0)
                try:
                    out.sendto(body, (to, 0, 0, scope))
                except OSError:
                    break


for line in sys.stdin:
    task = json.loads(line)
    six(task) if task.get("six") else four(task)
