"""``python -m tests.ontap_simulator --port 8443 --volumes 1000``: the simulator as a process of its own, over HTTP."""

from __future__ import annotations

import argparse

from tests.ontap_simulator.server import Simulator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--job-seconds", type=float, default=0.2)
    options = parser.parse_args()
    simulator = Simulator(port=options.port)
    simulator.world.job_seconds = options.job_seconds
    for number in range(options.volumes):
        simulator.world.add_volume(f"vol{number:05}", nas={"path": f"/vol{number:05}"})
    simulator.start()
    user, (password, _) = next(iter(simulator.accounts.items()))
    print(f"http://127.0.0.1:{simulator.port} vserver {simulator.world.vserver}, {user} / {password}", flush=True)  # noqa: T201
    try:
        simulator.closing.wait()
    except KeyboardInterrupt:
        simulator.close()


if __name__ == "__main__":
    main()
