#!/bin/bash
# How long a program takes to start and say its --help: mostly the dynamic loader. Meant to be 20 ms at most.
# Median of 21 runs, with the least and the greatest.
for program in bin/*; do
    [ "$program" != bin/assay ] || continue
    for ((i = 0; i < 21; i++)); do
        begin=${EPOCHREALTIME/./}
        "$program" --help > /dev/null
        echo $((${EPOCHREALTIME/./} - begin))
    done | sort -n | awk -v name="${program#bin/}" '{ t[NR] = $1 / 1000 } END { printf "%-10s --help %6.1f ms (%.1f to %.1f)\n", name, t[11], t[1], t[21] }'
done
