"""A Ray cluster of small nodes on this machine, told by lines on its input what to lose; in a process of its own, since a
cluster that is lost takes down whoever is connected to it.

    add CPUS     starts a node, answers with its id
    kill INDEX   takes a node away without a word, answers `gone`
    drain INDEX  says that a node will be preempted, answers `told`
"""

import sys

import ray
from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80 * 1024**2, "include_dashboard": False, "num_gpus": 0}


def main() -> None:
    """Start the head, say where it is, and obey; the head is lost with this process."""
    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "num_cpus": 0})
    nodes = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        verb, number = line.split()
        if verb == "add":
            nodes.append(cluster.add_node(wait=True, num_cpus=int(number), **SMALL))
            answer = nodes[-1].node_id
        elif verb == "kill":
            cluster.remove_node(nodes[int(number)], allow_graceful=False)
            answer = "gone"
        else:
            gcs = ray._raylet.GcsClient(address=cluster.address)
            preemption = ray.core.generated.autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
            gcs.drain_node(nodes[int(number)].node_id, preemption, "a test", 0)
            answer = "told"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
