#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The native tests once more, library included, with sanitizers: address and
# undefined behaviour, then threads. The counts are reduced (see common.h).

here=$(cd "$(dirname "$0")" && pwd)
top=${SCATTO_TOP:-$(cd "$here/../.." && pwd)}
build=${BUILD:-$top/build}
kselftest=${KSELFTEST:-$build/linux/tools/testing/selftests}
tests='api hostile many process stamps stress waiting'
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
fails=0
skips=0

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1
# Where process.c would find a library without sanitizers.
export BUILD=/nowhere

result() {
	n=$((n + 1))
	case $1 in
	0) echo "ok $n $2" ;;
	skip)
		echo "ok $n $2 # SKIP $3"
		skips=$((skips + 1))
		;;
	*)
		echo "not ok $n $2"
		grep -v '^ok ' "$dir/out" |
			grep -E -A 30 '^not ok|:Expected |error|Sanitizer|terminated|failed at step' | head -60 >"$dir/why"
		[ -s "$dir/why" ] || tail -60 "$dir/out" >"$dir/why"
		sed 's/^/# /' "$dir/why"
		fails=$((fails + 1))
		;;
	esac
}

# compile: with each line's arguments, as many at a time as there are processors
compile() {
	xargs -P "$(nproc)" -I{} sh -c "${CC:-cc} {}"
}

# sanitize NAME FLAGS
sanitize() {
	echo 'int main(void) { return 0; }' >"$dir/try.c"
	if ! ${CC:-cc} "-fsanitize=$2" "$dir/try.c" -o "$dir/try" 2>/dev/null || ! "$dir/try"; then
		for t in $tests; do
			result skip "$1 $t" "the compiler has no such sanitizer"
		done
		return
	fi
	mkdir "$dir/$1"
	# Two thirds of its time would go into optimizing.
	flags="-O0 -g1 -std=gnu11 -D_GNU_SOURCE= -fsanitize=$2 -I$here -I$top/lib/include -I$top/uapi"
	for f in "$top"/lib/*.c; do
		echo "$flags -c $f -o $dir/$1/$(basename "$f" .c).o"
	done | compile 2>"$dir/errors" || {
		cp "$dir/errors" "$dir/out"
		for t in $tests; do
			result 1 "$1 $t"
		done
		return
	}
	for t in $tests; do
		echo "$flags -isystem $kselftest $here/$t.c $dir/$1/*.o -pthread -o $dir/$1/$t"
	done | compile 2>"$dir/errors"
	for t in $tests; do
		if [ -x "$dir/$1/$t" ]; then
			"$dir/$1/$t" >"$dir/out" 2>&1
		else
			cp "$dir/errors" "$dir/out" && false
		fi
		status=$?
		# A report in a child of the test's own would not be in its status.
		! grep -q -E '(Thread|Address|Leak)Sanitizer|runtime error' "$dir/out" || status=1
		result $status "$1 $t"
	done
}

echo "1..$(($(echo "$tests" | wc -w) * 2))"
sanitize address address,undefined
sanitize thread thread
[ $fails = 0 ] || exit 1
[ $skips != $n ] || exit 4
