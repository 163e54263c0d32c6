"""nncompile bench: times a model beside other libraries."""
from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import ir
from ir.check import with_data
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, model_inputs_and_peers
from nncompile.cli.values import names, positive, positives, size
from nncompile.errors import InputError
from nncompile.targets import TARGETS

if TYPE_CHECKING:
    from nncompile.bench import Report, Row


def _bench(given: Given) -> int:
    from nncompile.bench import DEFAULT_PEERS, DEVICE_PEERS, PEERS, bench_device
    from nncompile.bench import bench as bench_cpu

    on_cpu = given.target == "cpu"
    if given.json is not None and not given.json.parent.is_dir():
        raise InputError(f"--json {given.json}: there is no folder {given.json.parent}")
    model, inputs, own = model_inputs_and_peers(given)
    own = own if on_cpu else {}
    known = [*own, *(PEERS if on_cpu else DEVICE_PEERS)]
    default = [*own, *(DEFAULT_PEERS if on_cpu else DEVICE_PEERS)]
    peers = default if given.vs is None else given.vs
    if unknown := set(peers) - set(known):
        raise InputError(f"there is no peer {', '.join(sorted(unknown))}; there are "
                         f"{', '.join(known)}")

    def watch(report: Report, row: Row) -> None:
        print(*[report.header()] * (len(report.rows) == 1), report.row(row), sep="\n", flush=True)

    if isinstance(model, ir.Graph) and any(v not in model.data for v in model.params):
        model = with_data(model)
        print(f"weights: {given.model} has none, so these are seeded random numbers\n")
    same = {"peers": [name for name in peers if name not in own], "sizes": dict(given.size),
            "rounds": given.rounds, "title": given.model, "watch": watch}
    report = (bench_cpu(model, inputs, batches=given.batch or [1, 64, 1024],
                        threads=given.threads,
                        own_peers={n: p for n, p in own.items() if n in peers}, **same)
              if on_cpu else
              bench_device(model, inputs, batches=given.batch or [1, 64, 4096],
                           target=given.target, **same))
    print(f"\n{report.notes()}")
    if given.json is not None:
        given.json.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    return 0 if report.correct else 1


COMMAND = Command(
    "bench", "time a model beside NumPy, torch and ONNX Runtime; outputs are compared with float64 "
    "before any time is taken", _bench, (MODEL,), (
        INPUT,
        Option("--target", "cpu; others: on a device, by its own events, with arrays that are "
               "there and with copies", metavar="TARGET", choices=tuple(TARGETS), default="cpu"),
        Option("--batch", "batch sizes: 1,64,1024; on a device 1,64,4096", metavar="N,N",
               read=positives),
        Option("--threads", "thread counts of the cpu: 1", metavar="N,N", read=positives,
               default=(1,)),
        Option("--vs", "of numpy,torch,onnxruntime,torch.compile,openvino,jax, or none; the first "
               "three without it; on a device: torch,torch.compile,cupy,jax, or none",
               metavar="PEER,PEER", read=names),
        Option("--size", "a number for each named size but the first, which is the batch",
               metavar="T=16", read=size, many=True, default=()),
        Option("--rounds", "rounds: 9", metavar="N", read=positive, default=9),
        Option("--json", "write every figure there too", metavar="FILE", read=Path),
    ), (
        "nncompile bench model.py:net --batch 1,64,1024 --threads 1,2",
        f"nncompile bench model.py:net --target {[*TARGETS][-1]} --vs torch,torch.compile",
    ))
