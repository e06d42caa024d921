"""The codec: CPU time for one 100-byte message in a process that does nothing else."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.servers import HERE, Broker


def run_codec(client: str, what: str, broker: Broker, messages: int) -> float:
    """Measure once, see benchmarks/codec_child.py; microseconds of CPU for one message.

    Raises:
        RuntimeError: The measuring process failed, with what it printed.
    """
    command = [sys.executable, "-m", "benchmarks.codec_child", client, what]
    command += ["--url", broker.url, "--messages", str(messages)]
    done = subprocess.run(
        command, cwd=HERE.parent, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{client} {what} failed:\n{done.stdout}{done.stderr}")
    return float(done.stdout)
