#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The library against hostile peers, by libFuzzer with sanitizers (fuzz/fuzz_library.c):
# 20 seconds, 20 minutes in the long form. Then what is found of mistakes that are made
# on purpose, in copies of the library.
#
# FUZZ_CORPUS=DIR keeps the inputs that reach new code, for the next time.

here=$(cd "$(dirname "$0")" && pwd)
top=${SCATTO_TOP:-$(cd "$here/../.." && pwd)}
cc=clang
seconds=20
[ "${SCATTO_LONG:-0}" = 0 ] || seconds=1200
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
fails=0

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:quarantine_size_mb=16
export UBSAN_OPTIONS=print_stacktrace=1

result() {
	n=$((n + 1))
	[ "$1" = 0 ] && echo "ok $n $2" && return
	echo "not ok $n $2"
	fails=$((fails + 1))
}

# build LIB OUT
build() {
	wraps=''
	for name in mmap munmap madvise open ioctl syscall clock_gettime nanosleep sched_yield; do
		wraps="$wraps -Wl,--wrap=$name"
	done
	# shellcheck disable=SC2086 # a list of options
	"$cc" -O1 -g -std=gnu11 -Wall -Wextra -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-I"$1/include" -I"$1" -I"$top/uapi" "$top/selftests/fuzz/fuzz_library.c" "$1"/*.c -pthread \
		$wraps -o "$2" >"$dir/out" 2>&1 || {
		sed 's/^/# /' "$dir/out"
		return 1
	}
}

# fuzz PROGRAM SECONDS CORPUS [INPUTS]: fails with what libFuzzer has found.
fuzz() {
	program=$1 time=$2
	shift 2
	(cd "$dir" && "$program" -max_total_time="$time" -max_len=600 -len_control=0 -timeout=20 -rss_limit_mb=1024 \
		-print_final_stats=1 -artifact_prefix="$dir/" "$@" >"$dir/out" 2>&1)
}

# planted WHAT FILE SED: does it find what SED does to FILE?
planted() {
	rm -rf "${dir:?}/lib"
	cp -r "$top/lib" "$dir/lib"
	sed -i "$3" "$dir/lib/$2"
	if cmp -s "$top/lib/$2" "$dir/lib/$2"; then
		echo "# $2 has no such line any more: $3"
		result 1 "finds $1"
		return
	fi
	mkdir -p "$dir/none"
	build "$dir/lib" "$dir/planted" || { result 1 "finds $1"; return; }
	if fuzz "$dir/planted" 120 "$dir/none" "$corpus"; then
		result 1 "finds $1"
	else
		grep -E 'SUMMARY|not so|runtime error' "$dir/out" | head -n 1 | sed 's/^/# /'
		grep -E 'stat::number_of_executed_units' "$dir/out" | sed 's/^/# /'
		result 0 "finds $1"
	fi
	rm -rf "$dir/none"
}

echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' >"$dir/try.c"
if ! "$cc" -fsanitize=fuzzer,address "$dir/try.c" -o "$dir/try" 2>/dev/null; then
	echo "1..1"
	echo "ok 1 # SKIP no clang with libFuzzer: apt-get install clang libclang-rt-14-dev"
	exit 4
fi

echo "1..5"
corpus=${FUZZ_CORPUS:-$dir/corpus}
mkdir -p "$corpus"
build "$top/lib" "$dir/fuzz_library" || exit 1
fuzz "$dir/fuzz_library" "$seconds" "$corpus"
status=$?
grep -E 'stat::(number|average)' "$dir/out" | sed 's/^/# /'
grep -E 'DONE|INITED' "$dir/out" | tail -n 1 | sed 's/^/# /'
if [ $status != 0 ]; then
	grep -vE 'NEW|REDUCE|pulse' "$dir/out" | tail -n 60 | sed 's/^/# /'
	for crash in "$dir"/crash-* "$dir"/timeout-* "$dir"/leak-* "$dir"/oom-*; do
		[ ! -f "$crash" ] || echo "# the input, base64: $(base64 -w 0 "$crash")"
	done
	rm -f "$dir"/crash-* "$dir"/timeout-* "$dir"/leak-* "$dir"/oom-*
fi
result $status "no peer hurts the library"

# Nothing but what it has learned; they take seconds.
planted "a published position that is believed" include/scatto.h \
	's/tail - c->next - 1 > c->mask || tail > end/tail > end/'
planted "a run that is believed" consumer.c \
	's/if (!run || run > most - seq)/if (!run)/'
planted "an intent outside of its region" endpoint.c \
	's/(size - offset) \/ stride > ep->index;/1;/'
planted "a geometry larger than its file" local.c \
	's/if (!ret && (uint64_t)st.st_size < layout_bytes(layout))/if (0)/'
[ $fails = 0 ]
