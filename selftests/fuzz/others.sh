#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Usage: fuzz/others.sh [--kernel VERSION] [SECONDS]
#
# Fuzzers that know nothing of scatto, pointed at /dev/scatto in a VM, each for that
# many seconds (60; 600 with SCATTO_LONG=1): trinity, as a user, with the calls that concern a file descriptor,
# and stress-ng --dev.  Fails when the kernel complains, or when something keeps the
# module from being removed afterwards.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
kernel=6.1
if [ "${1:-}" = --kernel ]; then
	kernel=$2
	shift 2
fi
seconds=${1:-$((${SCATTO_LONG:-0} ? 600 : 60))}
"$here/../deps" fuzz

script=$(mktemp)
trap 'rm -f "$script"' EXIT
{
	echo "seconds=$seconds"
	cat <<'END'
calls=''
for call in ioctl mmap munmap mremap mprotect madvise poll ppoll select epoll_ctl epoll_wait \
	dup dup2 dup3 fcntl close read write lseek sendmsg; do
	calls="$calls -c $call"
done

wait_unused() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(cat /sys/module/scatto/refcnt)" != 0 ] || return 0
		sleep 1
	done
	echo "$1: the module still has $(cat /sys/module/scatto/refcnt) users"
	return 1
}

mkdir -m 777 /tmp/trinity
echo "-- trinity"
# Its main process outlives children that it has made unable to end.
su user -c "cd /tmp/trinity && timeout -s INT -k 10 $seconds trinity -q -l off -C 8 --enable-fds=pseudo -V /dev/scatto $calls" 2>&1 |
	tail -n 12
killall -9 trinity trinity-main 2>/dev/null
for pid in $(ps -o pid,user | awk '$2 == "user" { print $1 }'); do
	kill -9 "$pid" 2>/dev/null
done
wait_unused trinity || exit 1

echo "-- stress-ng"
cd /tmp
stress-ng --dev 4 --dev-file /dev/scatto --timeout "$seconds" --metrics-brief 2>&1 | tail -n 12
wait_unused stress-ng || exit 1
rmmod scatto || exit 1
echo "the module is unused and removed"
END
} >"$script"

# The VM takes its time, as a busy machine does.
"$here/../vm/run" --kernel "$kernel" --time-limit $((2 * seconds + 300)) \
	--add "$(command -v trinity)" --add "$(command -v stress-ng)" --script "$script"
