"""``ray start`` of a further node on loopback, with Ray's own options.

Ray stays on 127.0.0.1 if it is told that clusters are off, and then refuses a second node. So this
process says that they are on, and what its address is; whatever it starts is told as the head is.
"""

import os
import sys
from typing import Any

from elastic_cluster import POD
from ray._private import ray_constants, services
from ray.scripts.scripts import main

__all__ = ["start_hook"]


def start_hook(params: Any, head: bool) -> None:
    """What ``ray start`` calls first (``RAY_START_HOOK``).

    Nodes of one machine share a folder, and two that start together choose one name for their
    sockets, unless they are told.
    """
    del head
    place = f"{os.environ['MILL_CLUSTER_FOLDER']}/{os.environ[POD][:12]}"
    params.raylet_socket_name = f"{place}.raylet"
    params.plasma_store_socket_name = f"{place}.store"


if __name__ == "__main__":
    ray_constants.ENABLE_RAY_CLUSTER = True
    services.get_node_ip_address = lambda address=None: "127.0.0.1"
    sys.exit(main())
