"""The staff of a job: the actors that are hired for it, and what was asked of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platemill.settings import Settings
from ray_jobs.actors import TritonNode, Worker
from ray_jobs.hands import Hired, Server
from ray_jobs.staffing import need_of, options_of

__all__ = ["SHARDS_A_WORKER", "Staff"]

SHARDS_A_WORKER = 2
"""One shard is recognised while the one before it is written."""

_STOP_SECONDS = 20.0


class Staff:
    """Hires and dismisses workers and servers, and keeps one table of all that was asked of them.

    Args:
        settings: the deployment's settings.
        run_id: the run.
        pipeline_version: what the images are recognised with.
    """

    def __init__(self, settings: Settings, run_id: str, pipeline_version: str) -> None:
        self._settings = settings
        self._run_id = run_id
        self._pipeline_version = pipeline_version
        self._options = options_of(need_of(settings.worker_resources))
        self._hires = 0
        self._asked: dict[Any, tuple[str, Hired | Server, str]] = {}
        self._parting: list[tuple[Hired | Server, str]] = []
        self.workers: list[Hired] = []
        self.servers: dict[str, Server] = {}

    @property
    def asked(self) -> list[Any]:
        """References of what is not answered yet."""
        return list(self._asked)

    def ask(self, what: str, whom: Hired | Server, reference: Any, detail: str = "") -> None:
        """Note that something was asked of somebody."""
        self._asked[reference] = (what, whom, detail)

    def settle(self, reference: Any) -> tuple[str, Hired | Server, str]:
        """What was asked by this reference; it is asked no more."""
        return self._asked.pop(reference)

    def is_asked(self, what: str) -> set[Hired | Server]:
        """Of whom that is asked now."""
        return {whom for asked, whom, _ in self._asked.values() if asked == what}

    def at(self, node: str) -> list[Hired]:
        """The workers of a node."""
        return [hired for hired in self.workers if hired.node == node]

    def hire(self, *, shaken: bool = False) -> None:
        """Another worker, wherever there is room for it: now, or when a node has come."""
        actor = (
            ray.remote(Worker)
            .options(max_restarts=0, max_concurrency=SHARDS_A_WORKER + 1, **self._options)
            .remote(self._run_id, self._pipeline_version)
        )
        self._hires += 1
        hired = Hired(actor, f"w{self._hires}", self._least_used(), shaken=shaken)
        self.workers.append(hired)
        self.ask("node", hired, actor.node.remote())
        self.ask("prepare", hired, actor.prepare.remote())

    def start_server(self, node: str) -> None:
        """The Triton server of a node."""
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = (
            ray.remote(TritonNode)
            .options(num_cpus=0, max_restarts=0, scheduling_strategy=place)
            .remote(self._run_id)
        )
        self.servers[node] = server = Server(actor, asked=True)
        self.ask("address", server, actor.address.remote(), node)

    def end(self, whom: Hired | Server) -> None:
        """End an actor at once, as a crash does, whether it is still there or not."""
        if isinstance(whom, Hired):
            if whom in self.workers:
                self.workers.remove(whom)
        else:
            self.servers = {node: one for node, one in self.servers.items() if one is not whom}
        self._forget(whom)
        ray.kill(whom.actor)

    def let_go(self, hired: Hired) -> None:
        """Dismiss a worker that has nothing to do, and the server of its node with the last one."""
        self.workers.remove(hired)
        self._forget(hired)
        if hired.prepared:
            self._parting.append((hired, hired.node))
            self.ask("leave", hired, hired.actor.close.remote(), hired.node)
        else:
            ray.kill(hired.actor)
            self.close_server(hired.node)

    def close_server(self, node: str) -> None:
        """Stop the server of a node if nobody there needs it any more."""
        if self.at(node) or any(where == node for _, where in self._parting):
            return
        server = self.servers.pop(node, None)
        if server is None:
            return
        if server.asked:
            # It is being started, and would do nothing else before it is ready.
            self.end(server)
        else:
            self._parting.append((server, node))
            self.ask("leave", server, server.actor.stop.remote(), node)

    def parted(self, whom: Hired | Server, node: str) -> None:
        """Somebody who was let go has closed what it held, or died."""
        self._parting.remove((whom, node))
        ray.kill(whom.actor)
        if isinstance(whom, Hired):
            self.close_server(node)

    def lose(self, node: str) -> list[Hired]:
        """A node is gone. Returns the workers that it took along."""
        lost = self.at(node)
        gone: list[Hired | Server] = [one for one, where in self._parting if where == node]
        self._parting = [entry for entry in self._parting if entry[1] != node]
        gone += lost
        if node in self.servers:
            gone.append(self.servers[node])
        for whom in gone:
            self.end(whom)
        return lost

    def dismiss_all(self) -> None:
        """End everybody. Ray ends actors as hard as a crash does; asked first, they clean up."""
        idle = [hired for hired in self.workers if hired.prepared and not hired.shards]
        parting = [ref for ref, (what, _, _) in self._asked.items() if what == "leave"]
        servers = list(self.servers.values())
        for asked in (
            [*parting, *(hired.actor.close.remote() for hired in idle)],
            [server.actor.stop.remote() for server in servers],
        ):
            if asked:
                ray.wait(asked, num_returns=len(asked), timeout=_STOP_SECONDS)
        for whom in [*self.workers, *servers, *(one for one, _ in self._parting)]:
            with contextlib.suppress(ValueError):
                ray.kill(whom.actor)

    def _least_used(self) -> str | None:
        """Of the servers that are given, one that the fewest workers use; None if none are."""
        used = Counter(hired.given for hired in self.workers)
        return min(self._settings.triton_addresses, key=lambda one: used[one], default=None)

    def _forget(self, whom: Hired | Server) -> None:
        """What was asked of it will never be answered."""
        for reference in [r for r, (_, other, _) in self._asked.items() if other is whom]:
            del self._asked[reference]
