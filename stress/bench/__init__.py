"""The benchmark.

This library, the bare system calls, and the alternatives to it, in the same rounds.

    python -m stress.bench                                       # everything, about ten minutes
    python -m stress.bench --only "4 processes" --rounds 3       # the rows whose name holds a text
    python -m stress.bench --json stress/bench/runs/DATE.json --picture stress/bench/runs/DATE.svg
    python -m stress.bench --from stress/bench/runs/DATE.json --page stress/bench/README.md

The bare loop is the least that the job can be: flock, write of as many bytes, fsync, unlock, on a
descriptor kept open. All contenders of a race take their turn in every round, ratios are taken
within a round, and their medians are shown with their range: a single figure of a shared machine
means nothing. At the end of each turn every process is killed with SIGKILL, and what the appends
that had returned wrote is counted.

`races` says which contenders take part in which race, `contenders` and `peers` how each is
configured; `measure` runs one turn; `table`, `page` and `picture` show the results.
"""
