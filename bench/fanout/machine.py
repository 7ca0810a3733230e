"""Describes the machine of a measurement."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

__all__ = ["describe"]


def describe() -> dict[str, str]:
    cpu = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    virtual = "hypervisor" in _read("/proc/cpuinfo")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": (cpu.group(1).strip() if cpu else platform.processor()) + (", virtual machine" if virtual else ""),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory.group(1)) // 1024 // 1024} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "tcp": _read("/proc/sys/net/ipv4/tcp_congestion_control").strip(),
        "python": platform.python_version(),
        "nginx": _nginx(),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _nginx() -> str:
    try:
        version = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return "none"
    return version.partition("/")[2].split()[0] if "/" in version else "none"
