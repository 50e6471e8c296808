"""What a terabyte and a thousand partitions cost: a stated model over a measured throughput.

    seconds of a partition = bytes / (MB/s per vCPU x vCPUs) + start-up
    compute = seconds x price per second (billed at least a minimum), requests = GETs + PUTs + LISTs

$ per TB takes one long run of many files of 10 MB at the rate measured on `large`; $ per 1,000 partitions
takes 1,000 runs of one day of 8,000 files and 100 MB at the rate of `minute`. Both rates include the start-up
of the command. List prices of us-east-1, on demand; a price that has changed is changed in PRICES. ARM and
Glue are assumed to be as fast for each vCPU as the measured machine. Left out: storage, logs, Step Functions
transitions, and transfer (none within a region).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PRICES_AS_OF = "2026-11-23"


@dataclass(frozen=True, slots=True)
class Machine:
    """Something that is rented by the second."""

    name: str
    vcpus: int
    dollars_per_hour: float
    minimum_seconds: int
    speed: float = 1.0  # throughput per vCPU against the measured machine: an assumption unless 1
    start_seconds: float = 0.0  # billed seconds before our command begins


def fargate(name: str, vcpus: int, gigabytes: int, vcpu_hour: float, gigabyte_hour: float) -> Machine:
    """A Fargate task: billed from the pull of its image, one minute at least."""
    dollars = vcpus * vcpu_hour + gigabytes * gigabyte_hour
    return Machine(name, vcpus, dollars, minimum_seconds=60, start_seconds=20.0)


PRICES = (
    fargate("Fargate x86, 2 vCPU / 8 GB", 2, 8, 0.04048, 0.004445),
    fargate("Fargate ARM, 2 vCPU / 8 GB", 2, 8, 0.03238, 0.00356),
    Machine("Glue, 2 x G.1X (2 DPU)", 8, 0.88, minimum_seconds=60),
)
DOLLARS_PER_GET, DOLLARS_PER_PUT = 0.0004 / 1_000, 0.005 / 1_000  # a LIST costs as much as a PUT
KEYS_PER_LIST = 1_000
PUTS_OF_A_RUN = 6  # part, manifest, lock and staging; more parts add one each
PART_BYTES = 256 * 2**20
COMPRESSION = 8  # raw bytes of JSON to one byte of Parquet
PARTITION = {"files": 8_000, "bytes": 100_000_000}
TERABYTE = {"files": 100_000, "bytes": 1_000_000_000_000}


def run_dollars(
    machine: Machine, *, files: int, size_bytes: int, bytes_per_vcpu_second: float
) -> dict[str, float]:
    """Seconds and dollars of one run over so many files and bytes.

    >>> m = Machine("m", 2, 3.6, 60)
    >>> run_dollars(m, files=1_000, size_bytes=200_000_000, bytes_per_vcpu_second=1e6)["compute_dollars"]
    0.1
    """
    work = size_bytes / (bytes_per_vcpu_second * machine.speed * machine.vcpus)
    seconds = machine.start_seconds + work
    puts = PUTS_OF_A_RUN + size_bytes // (COMPRESSION * PART_BYTES) - (-files // KEYS_PER_LIST)
    requests = files * DOLLARS_PER_GET + puts * DOLLARS_PER_PUT
    compute = max(seconds, machine.minimum_seconds) * machine.dollars_per_hour / 3_600
    return {
        "seconds": seconds,
        "compute_dollars": round(compute, 9),
        "request_dollars": round(requests, 9),
        "dollars": round(compute + requests, 9),
    }


def cost_table(large: dict[str, float], small: dict[str, float]) -> dict[str, Any]:
    """Dollars on every machine for each peer: measured bytes per vCPU second on large and on small files."""
    rows = []
    for peer, rate in large.items():
        for machine in PRICES:
            glue, spark = machine.name.startswith("Glue"), peer == "spark"
            if glue != spark and peer != "briquette":
                continue  # other peers run on Fargate, the plain Spark job on Glue; briquette on both
            terabyte = run_dollars(
                machine,
                files=TERABYTE["files"],
                size_bytes=TERABYTE["bytes"],
                bytes_per_vcpu_second=rate,
            )
            daily = (
                run_dollars(
                    machine,
                    files=PARTITION["files"],
                    size_bytes=PARTITION["bytes"],
                    bytes_per_vcpu_second=small[peer],
                )
                if small.get(peer)
                else None
            )
            rows.append(
                {
                    "peer": peer,
                    "machine": machine.name,
                    "per_terabyte": terabyte,
                    "dollars_per_1000_partitions": daily["dollars"] * 1_000 if daily else None,
                }
            )
    return {"prices_as_of": PRICES_AS_OF, "prices": [asdict(m) for m in PRICES], "rows": rows}


def rates(document: dict[str, Any], workload: str) -> dict[str, float]:
    """Raw bytes for each second and vCPU of the peers that did that workload on disk, start-up included."""
    cores = document["machine"]["cores"]
    for told in document["workloads"]:
        if told["workload"] == workload and told.get("store", "disk") == "disk":
            return {
                name: told["input"]["bytes"] / peer["wall_seconds"] / cores
                for name, peer in told["peers"].items()
                if peer["wall_seconds"]
            }
    return {}
