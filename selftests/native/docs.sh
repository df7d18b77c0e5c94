#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck disable=SC1003,SC2016 # patterns of sed and grep
# The documentation says what the code says: names, prototypes and numbers of the
# headers are in Documentation/ and nothing else is, and what the README shows
# compiles.
set -u

top=${SCATTO_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BUILD:-$top/build}
doc=$top/Documentation
uapi=$top/uapi/linux/scatto.h
lib=$top/lib/include/scatto.h
kapi=$top/kmod/include/linux/scatto.h
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0 fails=0

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

# same WHAT CODE DOC: two lists (files) are equal and not empty
same() {
	local status=0

	diff "$2" "$3" >"$dir/diff" || status=1
	sed -n 's/^< /in the code, not documented: /p; s/^> /documented, not in the code: /p' "$dir/diff" >"$dir/why"
	[ -s "$2" ] || {
		echo "found nothing to compare" >"$dir/why"
		status=1
	}
	result $status "$1"
}

# ran WHAT COMMAND...: it succeeds; its output explains a failure
ran() {
	local what=$1
	shift

	"$@" >"$dir/why" 2>&1
	result $? "$what"
}

skip() {
	n=$((n + 1))
	echo "ok $n # SKIP $1: $2"
}

# A C header without comments, one space for all white space within a line.
code() { gcc -fpreprocessed -dD -E -P "$1" | sed 's/[[:space:]]\+/ /g'; }

# The public prototypes of a header, one to a line: what is outside of all braces
# and neither macro nor behind a double underscore.
prototypes() {
	code "$1" | awk '/^ *# *ifdef __cplusplus/ { skip = 1 } !skip && !/^ *#/ { print } /^ *# *endif/ { skip = 0 }' |
		sed 's/[{};]/\n&\n/g' |
		awk '/^\{$/ { if (!depth++) print text; text = "" } /^}$/ { depth-- } /^[{}]$/ || depth { next }
			/^;$/ { print text; text = ""; next } { text = text " " $0 }' |
		sed -n 's/ \+/ /g; s/^ *\(SCATTO_INLINE \)\?//; s/\* /*/g; s/ *$//; /^[a-z].*[ *]scatto_[a-z0-9_]*(.*)$/p' |
		sort -u
}
names() { grep -o '\<scatto_[a-z0-9_]*(' | tr -d '(' | sort -u; }

# The ABI
code "$uapi" >"$dir/uapi"

{
	sed -n 's/^ *#define \(SCATTO_[A-Z0-9_]*\).*/\1/p' "$dir/uapi"
	grep -o '^ *SCATTO_[A-Z0-9_]* =' "$dir/uapi" | tr -d ' ='
} | sort -u >"$dir/a"
grep -o '``SCATTO_[A-Z0-9_]*[A-Z0-9]``\|^SCATTO_IOC_[A-Z]*' "$doc/uapi.rst" | tr -d '`' | sort -u >"$dir/b"
same "uapi.rst has all constants" "$dir/a" "$dir/b"

sed -n 's/^ *#define \(SCATTO_IOC_[A-Z]*\) _IO(SCATTO_IOC_MAGIC, \(0x[0-9a-f]*\)).*/\1 (\2)/p' "$dir/uapi" | sort >"$dir/a"
grep '^SCATTO_IOC_' "$doc/uapi.rst" | sort >"$dir/b"
same "uapi.rst has all ioctls with their numbers" "$dir/a" "$dir/b"

# "struct: field" in the order of the header; __aligned_u64 is documented as __u64.
awk '/^ *struct scatto_[a-z_]* \{/ { name = $2; next }
	/^ *\};?/ { name = "" }
	name && !/__pad/ { sub(/^ */, ""); sub(/ *;.*/, ""); sub(/__aligned_u64/, "__u64"); print name ": " $0 }' \
	"$dir/uapi" | sort >"$dir/a"
awk '/^(struct scatto_[a-z_]*|[A-Za-z].*)$/ { title = $0; next }
	/^[-=~]+$/ && length($0) == length(title) { name = title ~ /^struct / ? substr(title, 8) : ""; next }
	name && /^``.* .*``$/ { gsub(/`/, ""); print name ": " $0 }' "$doc/uapi.rst" | sort >"$dir/b"
same "uapi.rst has all structures and fields" "$dir/a" "$dir/b"

# What the ioctls, mmap and poll can return: every errno of the files that serve them.
{
	cat "$top"/kmod/{device,endpoint,channel,registry,quota,mmap,wait,claim}.c | grep -o -- '-E[A-Z0-9]\{3,\}' |
		sed 's/-ERESTARTSYS/-EINTR/'
	echo -E2BIG # copy_struct_from_user()
} | tr -d - | sort -u >"$dir/a"
grep -o '``E[A-Z0-9]*``' "$doc/uapi.rst" | tr -d '`' | sort -u >"$dir/b"
same "uapi.rst has all errors" "$dir/a" "$dir/b"

# The in-kernel API
prototypes "$kapi" | names >"$dir/a"
names <"$doc/kernel-api.rst" | grep -vx 'scatto_lost' >"$dir/b"
same "kernel-api.rst has all functions" "$dir/a" "$dir/b"
grep -ho 'EXPORT_SYMBOL_GPL(scatto_[a-z_]*' "$top"/kmod/*.c | sed 's/.*(//' | sort -u >"$dir/b"
same "all functions of the in-kernel API are exported" "$dir/a" "$dir/b"

# The library
prototypes "$lib" >"$dir/proto"
names <"$dir/proto" >"$dir/a"
grep -o '^[[:space:]]scatto_[a-z_]*;' "$top/lib/libscatto.map" | tr -d '\t;' | sort >"$dir/b"
same "libscatto.map has all functions" "$dir/a" "$dir/b"

for page in "$doc"/man/scatto_*.3; do basename "$page" .3; done | sort >"$dir/b"
same "all functions have a manual page" "$dir/a" "$dir/b"

# SYNOPSIS against the header, over all pages that are no links.
for page in "$doc"/man/*.3; do
	sed -n '/^\.SH SYNOPSIS/,/^\.SH DESCRIPTION/ s/^\.B "\(.*\)"$/\1/p' "$page" |
		tr '\n' ' ' | tr ';' '\n'
done | sed 's/ \+/ /g; s/^ //; /^$/d' | sort >"$dir/b"
same "the pages have the header's prototypes" "$dir/proto" "$dir/b"

# A page is for the functions of its NAME; links lead to such a page.
for page in "$doc"/man/scatto_*.3; do
	name=$(basename "$page" .3)
	to=$(sed -n 's/^\.so man3\///p' "$page")
	sed -n '/^\.SH NAME/,/\\-/p' "$doc/man/${to:-$name.3}" 2>/dev/null | grep -qw "$name" ||
		echo "$name.3 leads to no page with that name"
done >"$dir/why"
result "$([ -s "$dir/why" ]; echo $((! $?)))" "links lead to the page with that name"

grep -o 'SCATTO_STRATEGY_[A-Z]*\|SCATTO_BACKEND_[A-Z]*' "$lib" | grep -v '_$' | sort -u >"$dir/a"
grep -ho 'SCATTO_STRATEGY_[A-Z]*\|SCATTO_BACKEND_[A-Z]*' "$doc"/man/*.3 | grep -v '_$' | sort -u >"$dir/b"
same "the pages have all constants of the library" "$dir/a" "$dir/b"

# Every library function that any page or the README names exists.
cat "$doc"/man/*.[1-9] "$top/README.md" | grep -o '\<scatto_[a-z_]*\( *(3)\|(\)' | sed 's/ *(.*//' | sort -u |
	comm -23 - <(cat <(prototypes "$lib") <(prototypes "$kapi") | names) >"$dir/why"
result "$([ -s "$dir/why" ]; echo $((! $?)))" "no page names a function that is not there"

# One version
ver=$(awk -F'"' '/define SCATTO_VERSION\t/ { print $2 }' "$top/lib/include/scatto/version.h")
ran "dkms.conf has the version of the header" grep -qx "PACKAGE_VERSION=\"$ver\"" "$top/dkms.conf"
ran "the README's dkms has it, too" grep -q "dkms install scatto/$ver\$" "$top/README.md"

# The command
if [ -x "$build/scattoctl" ]; then
	"$build/scattoctl" --help | grep -o -- '^ *-[a-zA-Z], --[a-z-]*' | sed 's/^ *//' | sort >"$dir/a"
	sed -n 's/^\.BR \\-\([a-zA-Z]\) ", " \\-\\-\([a-z\\-]*\).*/-\1, --\2/p' "$doc/man/scattoctl.1" |
		tr -d '\\' | sort >"$dir/b"
	same "scattoctl.1 has all options" "$dir/a" "$dir/b"
	"$build/scattoctl" --help | sed -n 's/^\(Usage:\|      \) scattoctl \([a-z]*\).*/\2/p' | sort >"$dir/a"
	sed -n 's/^\.B scattoctl \([a-z]*\).*/\1/p' "$doc/man/scattoctl.1" | sort -u >"$dir/b"
	same "scattoctl.1 has all commands" "$dir/a" "$dir/b"
	sed -n '/^enum {/,/};/ s/^[[:space:]]*[A-Z_]*[[:space:]]*= \([0-9]\),.*/\1/p' "$top/lib/tools/scattoctl.c" >"$dir/a"
	sed -n '/^\.SH "EXIT STATUS"/,/^\.SH/ s/^\.B \([0-9]\)$/\1/p' "$doc/man/scattoctl.1" >"$dir/b"
	same "scattoctl.1 has each exit status" "$dir/a" "$dir/b"
	ran "scattoctl says the version of the header" test "$("$build/scattoctl" --version)" = "scattoctl $ver"
else
	skip "scattoctl.1" "$build/scattoctl is not built"
fi

# The pages are formatted without a complaint.
if command -v mandoc >/dev/null; then
	mapfile -t pages < <(grep -L '^\.so ' "$doc"/man/*.[1-9])
	mandoc -T lint -W warning "${pages[@]}" >"$dir/why" 2>&1
	result "$([ -s "$dir/why" ]; echo $((! $?)))" "mandoc has nothing to complain of"
else
	skip "mandoc" "it is not installed"
fi

# The README's programs. Each block of C begins with its file's name.
awk -v dir="$dir" '/^```c$/ { getline; file = dir "/" $2; print > file; next }
	/^```/ { file = "" } file { print > file }' "$top/README.md"
programs=0
for c in "$dir"/*.c; do
	[ -f "$c" ] || continue
	name=$(basename "$c")
	programs=$((programs + 1))
	if grep -q 'linux/module.h' "$c"; then
		kdir=$(for k in /lib/modules/*/build; do [ ! -f "$k/Makefile" ] || echo "$k"; done | sort -V | tail -n 1)
		symvers=$build/kmod-$(basename "${kdir%/build}")/Module.symvers
		if [ ! -f "$symvers" ]; then
			skip "README: $name" "no kernel headers, or scatto.ko is not built"
			continue
		fi
		mkdir -p "$dir/module" && cp "$c" "$dir/module"
		printf 'obj-m := %s\nccflags-y := -I%s/kmod/include -I%s -Werror\n' "${name%.c}.o" "$top" "$top" \
			>"$dir/module/Makefile"
		ran "README: $name, with W=1" make -s -C "$kdir" M="$dir/module" W=1 KBUILD_EXTRA_SYMBOLS="$symvers" \
			CONFIG_DEBUG_INFO_BTF_MODULES= CONFIG_MODULE_SIG_ALL= modules
	else
		ran "README: $name" gcc -std=gnu11 -O2 -Wall -Wextra -Werror -I"$top/lib/include" -I"$top/uapi" \
			"$c" "$build/lib/libscatto.a" -pthread -o "${c%.c}"
	fi
done
echo "there are $programs programs" >"$dir/why"
result $((programs < 4)) "the README has its four programs"

echo "1..$n"
[ $fails = 0 ]
