"""Several processes that share the ports (`--workers`): a supervisor, and workers that serve.

The supervisor holds no traffic and no model: it starts the workers, restarts those that die, and
passes on what must hold for all of them. Each worker is a fresh interpreter that runs the same
command line and listens on the same ports with SO_REUSEPORT: the kernel spreads the connections.

A worker listens only once its models are loaded. With SO_REUSEPORT a worker that listened while
loading would answer 503 to its share of the callers while others could serve them. So until the
first worker is ready the port refuses connections, which a probe takes for not ready, and the
health that a worker tells is its own.

When a worker dies, the kernel resets its connections, also those that wait to be accepted (unless
`net.ipv4.tcp_migrate_req` lets another worker take these); new ones go to the others at once.
Workers are not bound to CPUs: the scheduler knows more of the machine than we do.

Loading and unloading go through the supervisor, one change at a time, to every worker:

- Once answered, a change holds for all: who was down meanwhile comes up with it.
- If every worker fails, nothing has changed, and the asker gets the first one's error.
- If some fail, the change stands. The others are replaced by workers that start from the folder,
  and the asker gets an error that says so.
"""

from modelport_serving.workers.supervisor import supervise
from modelport_serving.workers.worker import Control, SupervisorLink, is_worker, link

__all__ = ["Control", "SupervisorLink", "is_worker", "link", "supervise"]
