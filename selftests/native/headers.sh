#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The public header compiles without a warning wherever somebody may include it:
# in C and C++, of several standards, at every level of optimization, with
# buffers smaller and larger than the sizes it has special copies for.

top=${SCATTO_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
lib=${BUILD:-$top/build}/lib
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
fails=0

# result STATUS WHAT
result() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		head -40 "$dir/out" | sed 's/^/# /'
		fails=$((fails + 1))
	fi
}

cat >"$dir/use.c" <<'END'
#include <scatto.h>
#include <stdio.h>

struct big {
	char bytes[100];
};

static uint64_t word = 1;
static struct big big;

int main(void)
{
	struct scatto_config cfg;
	struct scatto_channel *ch;
	struct scatto_producer *p;
	struct scatto_consumer *c;
	uint64_t local = 2, got[4];
	struct big other;
	void *slot;
	int ret;

	__builtin_memset(&cfg, 0, sizeof(cfg));
	cfg.size = sizeof(cfg);
	cfg.backend = SCATTO_BACKEND_LOCAL;
	cfg.kind = SCATTO_KIND_SPSC;
	cfg.slot_size = 8;
	cfg.capacity = 8;
	if (scatto_channel_create(&cfg, &ch) || scatto_producer_attach(ch, &p) ||
	    scatto_consumer_attach(ch, &c))
		return 1;
	if (scatto_try_send(p, &word) || scatto_send(p, &local))
		return 2;
	if (scatto_try_recv(c, &got[0]) || scatto_recv(c, &got[1]) ||
	    got[0] != 1 || got[1] != 2)
		return 3;
	if (scatto_claim(p, &slot))
		return 4;
	*(uint64_t *)slot = 3;
	ret = scatto_publish(p) || scatto_recv_batch(c, got, 4) != 1 ||
	      got[0] != 3;
	/* Never run: for what the compiler may say of it. */
	if (ret > 1)
		ret = scatto_send(p, &big) + scatto_recv(c, &other) +
		      scatto_send_batch(p, &other, 1);
	scatto_producer_close(p);
	scatto_consumer_close(c);
	scatto_channel_free(ch);
	return ret;
}
END
cp "$dir/use.c" "$dir/use.cc"

[ -f "$lib/libscatto.a" ] || {
	echo "1..0 # SKIP the library is not built in $lib"
	exit 4
}

# try COMPILER LANGUAGE-STANDARD FILE
try() {
	command -v "$1" >/dev/null || return 0
	for level in 0 2 3; do
		"$1" -std="$2" -O$level -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Werror \
			-D_GNU_SOURCE -isystem "$top/uapi" -I"$top/lib/include" "$dir/$3" "$lib/libscatto.a" -pthread \
			-o "$dir/use" >"$dir/out" 2>&1 && "$dir/use" >>"$dir/out" 2>&1
		result $? "$1 -std=$2 -O$level"
	done
}

for std in gnu99 c11 gnu17; do
	try gcc $std use.c
	try clang $std use.c
done
for std in c++11 c++17 c++20; do
	try g++ $std use.cc
	try clang++ $std use.cc
done
echo "1..$n"
[ $fails = 0 ]
