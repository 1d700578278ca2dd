"""Benchmarks: ringroom beside what its users would pick instead, in one run, on one machine.

    python -m bench                 all of them
    python -m bench.rings           the ring and the lane beside other ways to pass frames on
    python -m bench.hop             how long a frame takes to a worker, and back
    python -m bench.isolation       what Python work does to a call, on a real LiveKit server
    python -m bench.media           what sound costs on its way through the LiveKit SDK
    python -m bench.growth          start-up, memory, and the cost of each further track

Each prints a table, writes `results/<name>.json`, and draws the charts in `docs/figures`. What the
figures mean stands in docs/performance.md. Imports point down only:

    machine  <  rounds, charts, environments  <  report  <  the benchmarks  <  __main__
The contenders of `isolation` run in environments of their own, and import nothing of this but
`contenders`.
"""
