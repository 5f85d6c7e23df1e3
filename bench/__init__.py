"""The benchmark: ``make bench``, or ``python -m bench.run --help`` in the environment that ``make install`` made.

    make bench                              every figure, with a file of 1 GiB; some minutes, 5 GiB of disk
    make bench ARGS="--quick"               the same with 64 MiB and fewer repetitions, to see that all of it runs
    make bench ARGS="--only own,streams"    some of them; --list names them

It prints a table of medians, each beside its goal, and writes every repetition as JSON. ``--markdown`` prints the table
of ``docs/performance.md``. What compares with something else is measured in turns with it, so that only the ratio
within a run counts: machines differ, and a virtual one differs from minute to minute.

| module | measures or does |
|---|---|
| ``run`` | options, order, output |
| ``goals`` | what is measured, and what it should be |
| ``transfers`` | 1 GiB between two processes: our own, Kubo, Helia; one server shared by four |
| ``small`` | what takes milliseconds or memory: connecting, streams, starting, the command line; adding; the store |
| ``stage`` | the folder, the file and the server that the measurements share |
| ``children`` | processes that always end |
| ``own`` | the processes of our own that are measured |
| ``line`` | the most that one Python process could receive: no node at all |
| ``peers`` | Kubo and Helia as yardsticks; ``make peers`` installs them |
| ``report`` | table, Markdown, JSON |
| ``stream``, ``store`` | one layer alone, by hand: ``python bench/stream.py``, ``python -m bench.store`` |
"""
