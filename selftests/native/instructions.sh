#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Has the fast path become longer? Compares bench/instructions.c with the accepted
# numbers in bench/instructions.txt; "instructions.sh --accept" writes them anew.

top=${SCATTO_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BUILD:-$top/build}
accepted=$top/selftests/bench/instructions.txt
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

compiler=$(${CC:-cc} -dumpfullversion -dumpversion)
machine=$(uname -m)
[ "${1:-}" = --accept ] || grep -qx "# gcc ${compiler%%.*}, $machine" "$accepted" || {
	echo "1..0 # SKIP the numbers are of another compiler than $compiler, $machine"
	exit 4
}

build() {
	${CC:-cc} -O2 -std=gnu11 -D_GNU_SOURCE -I"$top/lib/include" -I"$top/uapi" \
		"$top/selftests/bench/instructions.c" "$build/lib/libscatto.a" -pthread -o "$dir/instructions"
}
count() {
	valgrind -q --tool=callgrind --collect-atstart=no --callgrind-out-file="$dir/out" "$dir/instructions"
}
if ! build >"$dir/log" 2>&1 || ! count >"$dir/log" 2>&1; then
	echo "1..1"
	echo "not ok 1 bench/instructions.c"
	sed 's/^/# /' "$dir/log"
	exit 1
fi

# Half a ring of 1024 for each dump.
for f in "$dir"/out.*; do
	awk '/^desc: Trigger: Client Request: / { sub(/.*Request: /, ""); name = $0 }
		/^totals: / { printf "%s\t%.2f\n", name, $2 / 512 }' "$f"
done | sort >"$dir/counted"

if [ "${1:-}" = --accept ]; then
	{
		echo "# SPDX-License-Identifier: GPL-2.0-only"
		echo "# Instructions per event of the inline fast path, see native/instructions.sh"
		echo "# gcc ${compiler%%.*}, $machine"
		cat "$dir/counted"
	} >"$accepted"
	exit
fi

# One in a hundred, and what rounding to cache lines and batches may give.
awk -F '\t' '
	/^#/ { next }
	FNR == NR { want[$1] = $2; todo++; next }
	{
		n++
		bad = !($1 in want) || $2 > want[$1] * 1.01 + 0.1
		printf "%sok %d %s: %s instructions, accepted %s\n", bad ? "not " : "", n, $1, $2,
			$1 in want ? want[$1] : "none"
		if (!bad && $2 < want[$1] * 0.99 - 0.1)
			printf "# fewer than accepted: native/instructions.sh --accept\n"
		fails += bad
	}
	END {
		print "1.." n
		exit fails || n != todo
	}' "$accepted" "$dir/counted"
