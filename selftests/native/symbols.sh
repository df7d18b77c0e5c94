#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What the public header declares or defines inline, what the symbol map lists
# and what the shared library exports is the same; so are the versions in all
# their places.

top=${SCATTO_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
lib=${BUILD:-$top/build}/lib
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
fails=0

result() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		sed 's/^/# /' "$dir/why"
		fails=$((fails + 1))
	fi
}

# same WHAT A B: two lists, not empty
same() {
	diff "$dir/$2" "$dir/$3" >"$dir/why" && [ -s "$dir/$2" ]
	result $? "$1"
}

# is WHAT WANTED FOUND
is() {
	echo "'$3' instead of '$2'" >"$dir/why"
	[ "$2" = "$3" ]
	result $? "$1"
}

[ -f "$lib/libscatto.so" ] || {
	echo "1..0 # SKIP the library is not built in $lib"
	exit 4
}
echo 1..7

# The compiler's own list of what it saw, without what is static for good.
echo '#include <scatto.h>' >"$dir/all.c"
${CC:-cc} -DSCATTO_INLINE= -I"$top/lib/include" -I"$top/uapi" -aux-info "$dir/aux" -c "$dir/all.c" -o "$dir/all.o"
sed -n '/ static /d; s/.*[ *]\(\(__\)\{0,1\}scatto_[a-z0-9_]*\) (.*/\1/p' "$dir/aux" | sort -u >"$dir/declared"
nm --defined-only "$dir/all.o" | sed -n 's/.* T //p' | sort >"$dir/inline"

sed -n 's/^\t\(\(__\)\{0,1\}scatto_[a-z0-9_]*\);$/\1/p' "$top/lib/libscatto.map" | sort >"$dir/map"
nm -D --defined-only --without-symbol-versions "$lib/libscatto.so" | sed -n 's/.* [TW] //p' | sort >"$dir/exported"
nm -D --defined-only "$lib/libscatto.so" | grep -v ' A ' | sed 's/.* //' | grep -v '@@LIBSCATTO_' >"$dir/why"
[ ! -s "$dir/why" ]
result $? "every exported symbol has a version and nothing else is exported"
same "the symbol map lists what the header declares" declared map
same "the library exports what the symbol map lists" map exported

nm --defined-only "$lib/libscatto.so" | sed -n 's/.* T //p' | sort >"$dir/text"
comm -23 "$dir/inline" "$dir/text" >"$dir/why"
[ -s "$dir/inline" ] && [ ! -s "$dir/why" ]
result $? "every inline function is a symbol as well ($(wc -l <"$dir/inline") of them)"

version=$(sed -n 's/#define SCATTO_VERSION[[:space:]]*"\(.*\)"/\1/p' "$top/lib/include/scatto/version.h")
parts=$(sed -n 's/#define SCATTO_VERSION_\(MAJOR\|MINOR\|PATCH\)[[:space:]]*//p' "$top/lib/include/scatto/version.h" |
	paste -s -d.)
is "the parts of the version make the whole" "$version" "$parts"
is "libscatto.pc has the version" "$version" "$(sed -n 's/^Version: //p' "$lib/libscatto.pc")"
# What scatto_version() returns is compared in api.c and process.c.
is "the file name has the version" "libscatto.so.$version" "$(basename "$(readlink -f "$lib/libscatto.so")")"

[ $fails = 0 ]
