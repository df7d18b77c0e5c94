#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Does the benchmark do what it says? Built with no peers but those of its own that are
# broken on purpose: rows are well-formed, and whoever loses, repeats, swaps or tears an
# event does not get a figure. The peers' adapters have to compile, where they can.

top=${SCATTO_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
export BUILD="${BUILD:-$top/build}"
bench=$top/selftests/bench
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

[ "$(nproc)" -gt 1 ] || { echo "1..0 # SKIP needs two CPUs" && exit 4; }
command -v "${CXX:-g++}" >/dev/null || { echo "1..0 # SKIP needs g++" && exit 4; }

n=0 failed=0
# ok STATUS WHAT: what was seen is in $dir/log.
ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		tail -n 20 "$dir/log" | sed 's/^/# /'
		failed=1
	fi
}

echo "1..8"
make -s -j"$(nproc)" -C "$bench/native" PEERS= JARS= OUT="$dir" CXXFLAGS='-O0 -Werror -DBENCH_SIZES=8,64' >"$dir/log" 2>&1
ok $? "builds"
make -s -j"$(nproc)" -C "$bench/native" OUT="$dir" syntax >"$dir/log" 2>&1
ok $? "adapters of peers compile"

"$dir/bench" --smoke --csv "$dir/csv" 2>"$dir/log"
ok $? "runs"
awk -F, 'NR == 1 { bad = $0 != "place,measure,impl,topology,bytes,batch,slots,regime,rep,value,unit"; next }
	NF != 11 || $1 != "native" || $10 !~ /^[0-9.]+(e[+-]?[0-9]+)?$/ || $11 !~ /^(events\/s|events|ratio|ns|bytes)$/ {
		print
		bad = 1
	}
	$2 ~ /^(throughput|roundtrip|latency_p9999|memory)$/ { seen[$2 " " $3] }
	END {
		for (m in seen)
			k++
		# throughput 6, roundtrip 7, latency 2, memory 2
		exit bad || k < 17 || !("latency_p9999 scatto" in seen) || !("throughput pipe" in seen) ||
			!("roundtrip scatto-block" in seen)
	}' "$dir/csv" >"$dir/log" 2>&1
ok $? "rows are well-formed, and of every measure"
"$bench/report" "$dir/csv" >"$dir/log" 2>&1 && grep -q '^adaptive .* measured' "$dir/log"
ok $? "report"

"$dir/bench" --smoke --only broken-not --measure throughput >"$dir/log" 2>&1 && grep -q ,broken-not, "$dir/log"
ok $? "broken-not passes"
missed=0
for how in swaps repeats loses tears; do
	if "$dir/bench" --smoke --only broken-$how --measure throughput >"$dir/log" 2>&1 ||
		! grep -q 'not what was sent' "$dir/log"; then
		echo "broken-$how has not been noticed" >>"$dir/log"
		missed=1
		break
	fi
done
ok $missed "swapped, repeated, lost, torn: each is noticed"

# By its name, a template of one adapter must not be taken for that of another.
! nm -C "$dir/bench" 2>"$dir/log" | grep -E ' [VWu] .*anonymous' >"$dir/log"
ok $? "nothing is shared by accident"
exit $failed
