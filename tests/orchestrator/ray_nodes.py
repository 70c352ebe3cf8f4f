"""A Ray cluster of small nodes on this machine, told by lines on its input what to lose; in a
process of its own, since a cluster that is lost takes down whoever is connected to it.

    add CPUS     starts a node, answers with its id
    without FILE starts a node of one CPU where Python finds nothing below that path, and answers
                 with its id
    of PID       answers with the index of the node that the process runs on
    kill INDEX   takes a node away without a word, answers `gone`
    drain INDEX  says that a node will be preempted, answers `told`
"""

import sys
from pathlib import Path

import psutil
import ray
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80 * 1024**2, "include_dashboard": False, "num_gpus": 0}


def main() -> None:
    """Start the head, say where it is, and obey; the head is lost with this process."""
    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "num_cpus": 0})
    nodes = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        verb, _, number = line.strip().partition(" ")
        if verb == "without":
            blind = {"PYTHONPATH": str(Path(__file__).with_name("blind_node")), "BLIND_TO": number}
            nodes.append(cluster.add_node(wait=True, num_cpus=1, env_vars=blind, **SMALL))
            answer = nodes[-1].node_id
        elif verb == "add":
            nodes.append(cluster.add_node(wait=True, num_cpus=int(number), **SMALL))
            answer = nodes[-1].node_id
        elif verb == "of":
            raylets = [node.all_processes[PROCESS_TYPE_RAYLET][0].process.pid for node in nodes]
            answer = str(raylets.index(psutil.Process(int(number)).ppid()))
        elif verb == "kill":
            cluster.remove_node(nodes[int(number)], allow_graceful=False)
            answer = "gone"
        else:
            gcs = ray._raylet.GcsClient(address=cluster.address)
            preemption = (
                ray.core.generated.autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
            )
            gcs.drain_node(nodes[int(number)].node_id, preemption, "a test", 0)
            answer = "told"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
