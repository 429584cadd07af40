"""One of several workers: what it is, and how it keeps in touch."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading

from aragora_redis.gateway.worker import Worker, keep_in_touch
from aragora_redis.settings import from_env


def test_a_worker_is_an_instance_of_its_own():
    worker = Worker(1, (1, 2), b"key")
    named = from_env({"ARAGORA_INSTANCE_ID": "gw"})
    assert worker.settings(named).instance_id == "gw:1"
    unnamed = from_env({})
    assert worker.settings(unnamed) is unnamed


def test_a_supervisor_that_reads_nothing_is_not_waited_for():
    ours, theirs = multiprocessing.Pipe()
    pipe, full = theirs.fileno(), False
    os.set_blocking(pipe, False)
    while not full:
        try:
            os.write(pipe, bytes(4096))
        except BlockingIOError:
            full = True
    os.set_blocking(pipe, True)

    async def touch():
        keep_in_touch(theirs)
        asyncio.get_running_loop().remove_reader(pipe)

    touching = threading.Thread(target=lambda: asyncio.run(touch()), daemon=True)
    touching.start()
    touching.join(10)
    still = touching.is_alive()
    ours.close()
    theirs.close()
    assert not still
